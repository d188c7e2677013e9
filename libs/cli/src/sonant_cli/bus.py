"""The log as the commands reach it: the one given by `SONANT_LOG_URL`, else that of `sonant up`."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sonant_cli.errors import CliError
from sonant_cli.state import DataDir

if TYPE_CHECKING:
    from common.bus.port import Log
    from common.bus.request_reply import Requester

T = TypeVar("T")


def with_log(work: Callable[["Log"], Awaitable[T]]) -> T:
    """What `work` makes of the open log.

    Raises:
        CliError: no log is known, or it does not answer.
    """
    # The event declarations and clients take a third of a second to load, which `sonant up` should not pay.
    from common.bus.port import BusUnavailableError
    from common.storage.redis import UNAVAILABLE

    try:
        return asyncio.run(_run(work))
    except (BusUnavailableError, *UNAVAILABLE) as error:
        raise CliError(f"the log does not answer: {error}") from None


def with_requester(work: Callable[["Requester"], Awaitable[T]]) -> T:
    """What `work` makes of asking the services, with commands that are answered.

    Raises:
        CliError: no log or live channel is known, or a service does not answer.
    """

    async def ask(log: "Log") -> T:
        async with _requester(log, DataDir.from_environment()) as requester:
            return await work(requester)

    try:
        return with_log(ask)
    except TimeoutError as error:
        raise CliError(f"{error}: is the service running?") from None


@asynccontextmanager
async def _requester(log: "Log", data: DataDir) -> AsyncIterator["Requester"]:
    from common.bus.live.reader import LiveReader
    from common.bus.request_reply import Requester
    from common.storage.resp import open_resp

    url = redis_url(data)
    async with open_resp(url) as reading, open_resp(url) as beating:
        reader = LiveReader(reading, beating, f"cli-{uuid.uuid4().hex[:12]}")
        await reader.open()
        tasks = [asyncio.create_task(reader.read()), asyncio.create_task(reader.beat())]
        try:
            yield Requester(log, reader)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await reader.close()


async def _run(work: Callable[["Log"], Awaitable[T]]) -> T:
    async with _open(DataDir.from_environment()) as log:
        await log.ping()
        return await work(log)


@asynccontextmanager
async def _open(data: DataDir) -> AsyncIterator["Log"]:
    from common.bus.connect import open_log
    from common.kernel.settings import CommonSettings
    from common.storage.redis import open_redis

    # The client for the live channel dials nothing unless the log is on the same engine.
    settings = CommonSettings(log_url=log_url(data))
    async with open_redis(settings.redis_url) as redis, open_log(settings, redis) as log:
        yield log


def log_url(data: DataDir) -> str:
    """The address of the log.

    Raises:
        CliError: none is set and `sonant up` does not run.
    """
    return _engine_url(data, "log")


def redis_url(data: DataDir) -> str:
    """The address of the live channel.

    Raises:
        CliError: none is set and `sonant up` does not run.
    """
    return _engine_url(data, "redis")


def _engine_url(data: DataDir, engine: str) -> str:
    known = data.read_urls() if data.is_running() else {}
    variable = f"SONANT_{engine.upper()}_URL"
    url = os.environ.get(variable) or known.get(engine)
    if not url:
        raise CliError(f"no {engine}: start `sonant up`, or set {variable}")
    return url

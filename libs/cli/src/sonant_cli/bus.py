"""The log as the commands reach it: the one given by `SONANT_LOG_URL`, else that of `sonant up`."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sonant_cli.errors import CliError
from sonant_cli.state import DataDir

if TYPE_CHECKING:
    from common.bus.port import Log

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
    known = data.read_urls() if data.is_running() else {}
    url = os.environ.get("SONANT_LOG_URL") or known.get("log")
    if not url:
        raise CliError("no log: start `sonant up`, or set SONANT_LOG_URL")
    return url

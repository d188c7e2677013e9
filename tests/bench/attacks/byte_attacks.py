"""Attacks on memory: few bytes on the wire that become many inside (part C). All run in cages."""

import asyncio
import gzip
import os
import random
import signal
from contextlib import suppress
from functools import partial

import orjson
import psutil

from tests.bench.attacks.attack import Attack
from tests.bench.attacks.ground import Ground, chat, new_session
from tests.bench.measure import MEBIBYTE
from tests.support.waiting import eventually

# A little below the largest body that is taken.
LARGE_BYTES = 4 * 1024 * 1024 - 4096
GZIPPED_CHATS = 150
UNREAD_ANSWERS = 60
BACKLOG_BYTES = 1024 * MEBIBYTE
BACKLOG_ORGANISATIONS = 16
# Before the gateway knows that nobody takes requests in, and refuses them.
FILLING_SECONDS = 12.0
# Beyond any start on a busy machine.
RESTART_SECONDS = 60.0
TEXT_BYTES = 3_000_000


def gzipped_chat(model: str) -> bytes:
    """A chat of 4 MB that is 4 KB on the wire."""
    return gzip.compress(orjson.dumps(chat(model, "x" * LARGE_BYTES)), compresslevel=9)


class GzippedChats(Attack):
    """150 at once, each 4 KB on the wire and 4 MB unpacked; the next when one is done."""

    name, part, caged = "gzipped chats", "C", True

    async def run(self, ground: Ground) -> None:
        key, body = await ground.key(), gzipped_chat("brief")
        await ground.repeat(GZIPPED_CHATS, partial(ground.ask, key, body, content_encoding="gzip"))


class UnreadAnswers(Attack):
    """60 clients that ask for 7.5 MB each and read none of it."""

    name, part, caged = "unread answers", "C", True

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        await ground.repeat(UNREAD_ANSWERS, partial(ground.ask_and_not_read, key, chat("large")))


class BacklogAtRestart(Attack):
    """Up to 1 GiB of requests while llm-stream stands still; then it is killed and starts with them before it."""

    name, part, caged = "backlog at a restart", "C", True

    def __init__(self) -> None:
        self._asking: list[asyncio.Task[int]] = []

    async def prepare(self, ground: Ground) -> None:
        """Fill the log while nobody takes requests in, which hurts everybody: so the quiet tenant comes after it."""
        body = gzipped_chat("brief")
        keys = [await ground.key() for _ in range(BACKLOG_ORGANISATIONS)]
        pid = ground.target.pids()["llm-stream"]
        os.kill(pid, signal.SIGSTOP)
        try:
            self._asking = [
                asyncio.create_task(ground.ask(key, body, content_encoding="gzip"))
                for key in keys
                for _ in range(BACKLOG_BYTES // LARGE_BYTES // len(keys))
            ]
            await asyncio.wait(self._asking, timeout=FILLING_SECONDS)
            ground.watch.expect("llm-stream")
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Nobody is answered while it starts: what counts is how it serves with all that before it.
        stranger = await ground.key()
        await eventually(partial(self._answered, ground, stranger), timeout=RESTART_SECONDS, interval=0.2)

    async def _answered(self, ground: Ground, key: str) -> bool:
        return await ground.ask(key, chat("brief")) == 200

    async def run(self, ground: Ground) -> None:
        while not ground.over and any(not task.done() for task in self._asking):
            await asyncio.wait(self._asking, timeout=0.5)
        for task in self._asking:
            task.cancel()
        await asyncio.wait(self._asking)


class EndlessTrailers(Attack):
    """An upstream whose trailers never end, in four answers at a time."""

    name, part, caged = "endless trailers", "C", True

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        await ground.repeat(4, partial(ground.ask, key, chat("trailers")))


class IdempotentAnswers(Attack):
    """Whole answers of 1 MB, each kept for a day under an idempotency key of its own."""

    name, part, caged = "idempotent answers", "C", True

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        body = {**chat("large"), "stream": False}
        await ground.repeat(4, lambda: ground.ask(key, body, idempotency_key=new_session()))
        ground.figures["store MiB"] = _resident(ground, "valkey")


class LogOverTime(Attack):
    """Requests of 3 MB that no two are alike, one after the other, on a log that keeps them for days."""

    name, part, caged, embedded_only = "the log over time", "C", True, True

    async def run(self, ground: Ground) -> None:
        key, noise = await ground.key(), random.Random(1)
        text = noise.randbytes(TEXT_BYTES // 2).hex()

        async def once() -> None:
            start = noise.randrange(1000)
            await ground.ask(key, chat("brief", text[start:]))

        await ground.repeat(2, once)
        ground.figures["store MiB"] = _resident(ground, "valkey")


def _resident(ground: Ground, name: str) -> float:
    """MiB that a process holds now; 0 where it does not run."""
    with suppress(KeyError, psutil.Error):
        return float(psutil.Process(ground.target.pids()[name]).memory_info().rss / MEBIBYTE)
    return 0.0

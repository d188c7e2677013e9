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

# A little below the largest body that is taken.
LARGE_BYTES = 4 * 1024 * 1024 - 4096
GZIPPED_CHATS = 150
UNREAD_ANSWERS = 60
BACKLOG_BYTES = 1024 * MEBIBYTE
BACKLOG_ORGANISATIONS = 16
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

    async def run(self, ground: Ground) -> None:
        body = gzipped_chat("brief")
        keys = [await ground.key() for _ in range(BACKLOG_ORGANISATIONS)]
        pid = ground.target.pids()["llm-stream"]
        os.kill(pid, signal.SIGSTOP)
        asking = [
            asyncio.create_task(ground.ask(key, body, content_encoding="gzip"))
            for key in keys
            for _ in range(BACKLOG_BYTES // LARGE_BYTES // len(keys))
        ]
        try:
            # Past some seconds the gateway knows that nobody takes them in, and refuses the rest.
            await asyncio.wait(asking, timeout=max(2.0, (ground.ends - asyncio.get_running_loop().time()) / 4))
            ground.watch.expect("llm-stream")
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while not ground.over and any(not task.done() for task in asking):
            await asyncio.wait(asking, timeout=0.5)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


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

"""Attacks on sockets: connections that say nothing, and readers that do not read (part F)."""

import itertools
from contextlib import suppress
from functools import partial

from tests.bench.attacks.attack import Attack
from tests.bench.attacks.ground import Ground, chat, ended

SILENT_CONNECTIONS = 2000
UNREAD_STREAMS = 2000
HALF_A_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
HALF_A_BODY = HALF_A_HEAD + b"content-type: application/json\r\ncontent-length: 100000\r\n\r\n{"


class SilentConnections(Attack):
    """2,000 connections: half say nothing, half begin a head or a body and never end it."""

    name, part = "silent connections", "F"

    async def run(self, ground: Ground) -> None:
        beginnings = itertools.cycle([b"", HALF_A_HEAD, HALF_A_BODY])

        async def once() -> None:
            with suppress(OSError, TimeoutError):
                async with ground.connection() as (_, writer):
                    writer.write(next(beginnings))
                    await ended(writer)
                    ground.answers["closed by the server"] += 1

        await ground.repeat(SILENT_CONNECTIONS, once)


class ReadersThatDoNotRead(Attack):
    """2,000 streams of one organisation whose readers have read the head and nothing more."""

    name, part = "readers that do not read", "F"

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        await ground.repeat(UNREAD_STREAMS, partial(ground.ask_and_not_read, key, chat("large")))

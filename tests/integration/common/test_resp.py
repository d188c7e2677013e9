"""The lean connection on a real engine: the order of what is sent, and who is to blame for a silence."""

import asyncio
import time

import pytest

from common.storage.resp import Resp, open_resp
from sonant_cli.engines import valkey
from tests.support.engines import running

# Long enough for an engine on a busy machine; the process is held up for twice as long.
TIMEOUT = 0.5


async def test_what_is_sent_at_once_follows_what_was_gathered_before_it(valkey_url: str) -> None:
    async with open_resp(valkey_url) as connection:
        await connection.execute("DEL", "test:gathered")
        count = ("INCR", "test:gathered")
        replies = await asyncio.gather(
            connection.execute(*count),
            connection.execute(*count),
            connection.pipeline([count, count]),
            connection.execute(*count),
        )
    assert replies == [1, 2, [3, 4], 5]


@pytest.mark.parametrize("turns", [1, 2], ids=["before-the-write", "after-the-write"])
async def test_a_process_that_was_held_up_keeps_its_connection(valkey_url: str, turns: int) -> None:
    connection = Resp(valkey_url, timeout=TIMEOUT)
    try:
        identity = await connection.execute("CLIENT", "ID")
        for _ in range(5):
            asked = asyncio.create_task(connection.execute("CLIENT", "ID"))
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(2 * TIMEOUT)
            assert await asked == identity
    finally:
        connection.close()


async def test_an_engine_that_is_silent_is_cut_off() -> None:
    async with running(valkey) as engine, open_resp(engine.url) as operator:
        connection = Resp(engine.url, timeout=TIMEOUT)
        await connection.execute("PING")
        await operator.execute("CLIENT", "PAUSE", 10_000, "ALL")
        since = time.monotonic()
        with pytest.raises(ConnectionError, match=f"no reply in {TIMEOUT:g} s"):
            await connection.execute("PING")
        assert time.monotonic() - since >= TIMEOUT
        connection.close()

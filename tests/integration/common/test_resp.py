"""The lean connection on a real engine: the order of what is sent, and who is to blame for a silence."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import hiredis
import pytest

from common.bus.port import BusUnavailableError
from common.bus.valkey import ValkeyLog
from common.events.record import Record
from common.storage.redis import open_redis
from common.storage.resp import LARGE_BYTES, Command, Resp, open_resp, packed_apart
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


COMMANDS: list[Command] = [
    ("XADD", "s", "*", "k", b"x", "v", b"y" * LARGE_BYTES, "h", b"{}"),
    ("SET", "\u00e4", 1, -2.5, b"", b"\x00\xff\r\n", 10**20),
    ("PING",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=["large", "odd", "alone"])
def test_what_is_sent_apart_is_the_same_on_the_wire(command: Command) -> None:
    assert b"".join(packed_apart(command)) == hiredis.pack_command(cast("Any", command))


async def test_large_and_small_commands_keep_their_order(valkey_url: str) -> None:
    value = b"x" * (3 * LARGE_BYTES)
    async with open_resp(valkey_url) as connection:
        replies = await asyncio.gather(
            connection.execute("SET", "test:apart", b"y"),
            connection.pipeline([("GETSET", "test:apart", value), ("STRLEN", "test:apart")], apart=True),
            connection.pipeline([("GETDEL", "test:apart")]),
        )
    assert replies == [b"OK", [b"y", len(value)], [value]]


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


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What the event loop says of this test's futures and tasks, once it is over."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    yield told
    loop.set_exception_handler(None)


async def test_of_many_replies_that_are_lost_none_is_reported_as_overlooked(complaints: list[str]) -> None:
    async with running(valkey) as engine, open_resp(engine.url) as operator:
        connection = Resp(engine.url, timeout=TIMEOUT)
        await connection.execute("PING")
        await operator.execute("CLIENT", "PAUSE", 10_000, "ALL")
        with pytest.raises(ConnectionError):
            await connection.pipeline([("PING",)] * 50)
        connection.close()
    gc.collect()
    assert not complaints


async def test_of_many_records_that_cannot_be_written_none_is_reported_as_overlooked(
    complaints: list[str], tmp_path: Path
) -> None:
    """Before, each try to publish seventy facts stopped the event loop for a second: they were reported one by one."""
    url = f"unix://{tmp_path}/nobody.sock"
    async with open_redis(url) as redis:
        log = ValkeyLog(url, redis)
        with pytest.raises(BusUnavailableError):
            await log.publish(*(Record("facts", str(number), b"{}", {}) for number in range(70)))
        await log.close()
    gc.collect()
    assert not complaints

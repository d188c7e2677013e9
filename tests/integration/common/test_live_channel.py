"""The live channel on a real engine: order under load, reconnects, vanished mailboxes, late frames, signals."""

import asyncio
from typing import Any

import pytest

from common.bus import metrics
from common.bus.live import writer as live_writer
from common.bus.live.crowd import ENTRY_BYTES
from common.bus.live.frames import Frame, FrameKind
from common.bus.live.reader import LiveReader
from common.bus.live.signals import SIGNALS, on_signal
from common.bus.live.writer import LiveWriter, open_writer
from common.events.spec import Payload, SignalSpec
from common.storage.redis import open_redis
from common.storage.resp import Resp, open_resp
from sonant_cli.engines import valkey
from tests.support.engines import running
from tests.support.mailbox import open_mailbox
from tests.support.swallowing import swallowing_relay
from tests.support.waiting import eventually


class Note(Payload):
    n: int


NOTE = SignalSpec(kind="note", payload=Note, summary="Something to hear.")


def data(request_id: str, number: int) -> Frame:
    return Frame(request_id, FrameKind.DATA, number, b"%d" % number)


async def collect(reader: LiveReader, request_id: str, count: int, *, after: int = 0) -> list[int]:
    numbers: list[int] = []
    with reader.waiting(request_id, after=after) as waiter:
        while len(numbers) < count:
            numbers += [frame.number for frame in await waiter.frames(5)]
            assert not waiter.gap
    return numbers


async def test_frames_of_many_requests_arrive_in_order(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "order") as reader:
        collecting = [asyncio.create_task(collect(reader, f"r{n}", 50)) for n in range(40)]
        await asyncio.sleep(0)
        for number in range(1, 51):
            for n in range(40):
                writer.send(reader.mailbox, data(f"r{n}", number))
            await asyncio.sleep(0)
        for numbers in await asyncio.gather(*collecting):
            assert numbers == list(range(1, 51))


async def test_a_flood_of_large_frames_is_written_in_portions_and_keeps_no_small_one_waiting(valkey_url: str) -> None:
    async with (
        open_writer(valkey_url) as writer,
        open_redis(valkey_url) as redis,
        open_mailbox(valkey_url, "flood") as reader,
    ):
        with reader.waiting("quiet") as quiet, reader.waiting("heavy-0") as heavy:
            flood = [(f"heavy-{n}", number) for number in range(1, 11) for n in range(100)]
            for request_id, number in flood:
                writer.send(reader.mailbox, Frame(request_id, FrameKind.DATA, number, bytes(50_000)))
            await asyncio.sleep(0)
            writer.send(reader.mailbox, data("quiet", 1))
            assert [frame.number for frame in await quiet.frames(5)] == [1]
            written = await redis.xlen(reader.mailbox)
            assert heavy.last_number < 10
            await eventually(lambda: heavy.last_number == 10)
        entries: Any = await redis.xrange(reader.mailbox)
    sizes = [len(fields[b"f"]) for _, fields in entries if b"f" in fields]
    assert written < 30
    assert max(sizes) < ENTRY_BYTES + 2 * 50_000


async def test_a_restart_of_the_engine_loses_no_frame() -> None:
    async with running(valkey) as engine, open_writer(engine.url) as writer:
        async with open_mailbox(engine.url, "restart") as reader:
            collecting = asyncio.create_task(collect(reader, "r", 300))
            sending = asyncio.create_task(_send_slowly(writer, reader.mailbox, 300))
            await eventually(lambda: reader._positions[reader.mailbox] != "0")
            await engine.stop()
            await engine.start()
            assert await collecting == list(range(1, 301))
            await sending


async def _send_slowly(writer: LiveWriter, mailbox: str, count: int) -> None:
    for number in range(1, count + 1):
        writer.send(mailbox, data("r", number))
        await asyncio.sleep(0.005)
    await writer.flush()


async def test_a_mailbox_that_vanished_is_made_anew_and_its_waiters_are_told(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "vanish") as reader:
        with reader.waiting("r") as waiter:
            await writer.command("DEL", reader.mailbox)
            await eventually(lambda: waiter.gap)
            assert await waiter.frames(0) == []
            writer.send(reader.mailbox, data("r", 1))
            assert [frame.number for frame in await waiter.frames(5)] == [1]


async def test_after_a_heartbeat_without_an_answer_every_waiter_asks_again() -> None:
    """The engine still does what it was sent before, also for a connection that was given up: the mailbox is there."""
    async with running(valkey) as engine, open_mailbox(engine.url, "hung") as reader:
        with reader.waiting("r") as waiter:
            await eventually(lambda: reader._beating._wire)
            wire = reader._beating._wire
            assert wire is not None
            with engine.hung():
                await eventually(lambda: not wire.open, timeout=20)
            await eventually(lambda: waiter.gap)


async def test_whose_frames_were_dropped_asks_again_also_where_nothing_follows(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    """The frame is lost for good: an engine that hung would carry it out after all, and close the gap again."""

    def dropped() -> float:
        return float(metrics.LIVE_DROPPED._value.get())

    monkeypatch.setattr(live_writer, "WRITE_PATIENCE", 0.2)
    before = dropped()
    async with swallowing_relay(valkey_url) as relay, open_mailbox(valkey_url, "robbed") as reader:
        writer = LiveWriter(Resp(relay.url, timeout=0.2))
        with reader.waiting("r") as waiter:
            writer.send(reader.mailbox, data("r", 1))
            assert await waiter.frames(5)
            with relay.swallowing():
                writer.send(reader.mailbox, data("r", 2))
                await eventually(lambda: dropped() > before)
            await eventually(lambda: waiter.gap)
        await writer.close()


async def test_a_reply_is_waited_for_over_a_loss(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "patient") as reader:
        with reader.waiting("r") as waiter:
            waiting = asyncio.create_task(waiter.first(5))
            await asyncio.sleep(0)
            waiter.lost()
            writer.send(reader.mailbox, data("r", 1))
            assert [frame.number for frame in await waiting] == [1]


async def test_nobody_listens_once_a_reader_has_closed(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer:
        async with open_mailbox(valkey_url, "closing") as reader:
            assert await writer.listening(reader.mailbox)
        assert not await writer.listening(reader.mailbox)
        writer.send(reader.mailbox, data("r", 1))
        await writer.flush()
        assert not await writer.listening(reader.mailbox)


async def test_the_mailbox_of_a_former_life_is_removed(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer, open_resp(valkey_url) as connection, open_resp(valkey_url) as beating:
        former = LiveReader(connection, beating, "reborn")
        await former.open()
        async with open_mailbox(valkey_url, "reborn") as reader:
            assert await writer.listening(reader.mailbox)
            assert not await writer.listening(former.mailbox)


async def test_late_frames_are_counted_and_dropped(valkey_url: str) -> None:
    def late() -> float:
        return float(metrics.LIVE_LATE_FRAMES._value.get())

    before = late()
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "late") as reader:
        writer.send(reader.mailbox, data("nobody", 1))
        await eventually(lambda: late() == before + 1)


async def test_signals_reach_every_instance_and_those_that_start_a_little_later(valkey_url: str) -> None:
    heard: dict[str, list[Note]] = {"a": [], "b": [], "late": []}
    hear = {name: [on_signal(NOTE, notes.append)] for name, notes in heard.items()}
    async with open_writer(valkey_url) as writer:
        async with open_mailbox(valkey_url, "a", hear["a"]), open_mailbox(valkey_url, "b", hear["b"]):
            await writer.signal(NOTE, Note(n=7))
            async with open_mailbox(valkey_url, "late", hear["late"]):
                await eventually(lambda: all(Note(n=7) in notes for notes in heard.values()))


async def test_a_signal_that_nobody_understands_holds_up_none_behind_it(valkey_url: str) -> None:
    heard: list[Note] = []
    async with (
        open_writer(valkey_url) as writer,
        open_mailbox(valkey_url, "sturdy", [on_signal(NOTE, heard.append)]),
        open_redis(valkey_url) as redis,
    ):
        for noise in (b"\xff", b"7", b"{}", b'{"kind": ["note"]}', b'{"kind": "note", "n": "many"}', b'{"kind": "?"}'):
            await redis.xadd(SIGNALS, {"s": noise})
        await writer.signal(NOTE, Note(n=8))
        await eventually(lambda: Note(n=8) in heard)


async def test_a_command_reaches_the_engine_before_the_frames_queued_after_it(valkey_url: str) -> None:
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "ordered") as reader:
        for number in range(1, 200):
            writer.queue_command("SET", f"test:ordered:{number}", "there")
            writer.send(reader.mailbox, data("r", number))
        with reader.waiting("r") as waiter:
            for frame in await waiter.frames(5):
                assert await writer.command("GET", f"test:ordered:{frame.number}") == b"there"


async def test_what_the_engine_refuses_for_good_holds_up_nothing_and_is_counted(valkey_url: str) -> None:
    def refused() -> float:
        return float(metrics.LIVE_REFUSED._value.get())

    before = refused()
    async with open_writer(valkey_url) as writer, open_mailbox(valkey_url, "refused") as reader:
        await writer.command("SET", "test:text", "no list")
        with reader.waiting("r") as waiter:
            writer.queue_command("LPUSH", "test:text", "a")
            writer.queue_command("SET", "test:behind", "there")
            writer.send(reader.mailbox, data("r", 1))
            await writer.settled()
            writer.queue_command("LPUSH", "test:text", "b")
            await writer.settled()
            writer.send(reader.mailbox, data("r", 2))
            numbers: list[int] = []
            while numbers[-1:] != [2]:
                numbers += [frame.number for frame in await waiter.frames(5)]
        assert numbers == [1, 2]
        assert await writer.command("GET", "test:behind") == b"there"
    assert refused() == before + 2


async def test_what_the_engine_refuses_for_the_moment_is_kept_until_it_has_room() -> None:
    async with running(valkey) as engine, open_writer(engine.url) as writer:
        await writer.command("CONFIG", "SET", "maxmemory", "1")
        writer.queue_command("SET", "test:kept", "there")
        # The last of a write is taken even so.
        writer.queue_command("DEL", "test:other")
        settled = asyncio.create_task(writer.settled())
        await asyncio.wait({settled}, timeout=0.5)
        assert not settled.done()
        await writer.command("CONFIG", "SET", "maxmemory", "0")
        await settled
        assert await writer.command("GET", "test:kept") == b"there"

"""In which order records that wait for a write are written."""

import asyncio
from collections.abc import Sequence

from common.bus.record_batching import WRITE_BYTES, RecordBatcher
from common.events.record import Record

LARGE = 4 * WRITE_BYTES


def a_record(name: str, size: int, key: str = "", topic: str = "chat") -> Record:
    return Record(topic, key or name, name.encode().ljust(size), {})


async def written(*records: Record, limit: int = 1000) -> list[list[str]]:
    """The writes in which records leave that come while another is being written, by their names."""
    writes: list[list[str]] = []
    gate = asyncio.Event()

    async def write(batch: Sequence[Record]) -> None:
        writes.append([record.value.decode().strip() for record in batch])
        await gate.wait()

    batcher = RecordBatcher(write, name="test", limit=limit)
    waiting = [batcher.put(a_record("first", 1))]
    await asyncio.sleep(0)
    waiting += [batcher.put(record) for record in records]
    gate.set()
    await asyncio.gather(*waiting)
    return writes[1:]


async def test_small_records_leave_together_in_their_order() -> None:
    assert await written(*(a_record(f"r{number}", 100) for number in range(5))) == [["r0", "r1", "r2", "r3", "r4"]]


async def test_a_small_record_waits_for_one_large_one_at_most() -> None:
    large = [a_record(f"large{number}", LARGE) for number in range(3)]
    assert await written(*large, a_record("small", 10)) == [["large0", "small"], ["large1"], ["large2"]]


async def test_large_records_keep_their_turn() -> None:
    small = [a_record(f"s{number}", WRITE_BYTES // 2) for number in range(6)]
    writes = await written(a_record("large0", LARGE), a_record("large1", LARGE), *small)
    assert writes == [["large0", "s0", "s1"], ["large1", "s2", "s3"], ["s4", "s5"]]


async def test_records_of_a_key_keep_their_order() -> None:
    records = [
        a_record("large0", LARGE, "a"),
        a_record("large1", LARGE, "b"),
        a_record("small1", 10, "b"),
        a_record("other", 10, "c"),
        # Another topic is another order.
        a_record("elsewhere", 10, "b", "resources"),
        a_record("small2", 10, "b"),
    ]
    writes = await written(*records)
    assert writes == [["large0", "other", "elsewhere"], ["large1", "small1", "small2"]]


async def test_a_write_has_as_many_records_as_it_may() -> None:
    large = [a_record(f"large{number}", LARGE) for number in range(2)]
    small = [a_record(f"s{number}", 10) for number in range(5)]
    writes = await written(*large, *small, limit=3)
    assert writes == [["large0", "s0", "s1"], ["large1", "s2", "s3"], ["s4"]]


async def test_every_record_is_written_once_whatever_its_size() -> None:
    sizes = [(7919 * number) % (2 * WRITE_BYTES) for number in range(40)]
    records = [a_record(f"r{number}", size + 10, f"key{number % 5}") for number, size in enumerate(sizes)]
    writes = await written(*records)
    names = [name for write in writes for name in write]
    assert sorted(names) == sorted(f"r{number}" for number in range(40))
    for key in range(5):
        own = [int(name[1:]) for name in names if int(name[1:]) % 5 == key]
        assert own == sorted(own)

"""Frames: packing, order, gaps and repetitions, natural batching."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus.batching import Batcher
from common.bus.live.crowd import ENTRY_BYTES, Crowd
from common.bus.live.frames import Frame, FrameKind, pack, unpack
from common.bus.live.kept_answers import pack_ended, unpack_ended
from common.bus.live.waiter import Waiter

frames = st.builds(
    Frame,
    request_id=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=60),
    kind=st.sampled_from([FrameKind.START, FrameKind.DATA, FrameKind.END, FrameKind.REPLY]),
    number=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=300),
)


def frame(number: int) -> Frame:
    return Frame("r", FrameKind.DATA, number, b"%d" % number)


@given(st.lists(frames, max_size=20))
def test_packing_is_undone_by_unpacking(sent: list[Frame]) -> None:
    assert list(unpack(pack(sent))) == sent


@given(st.lists(frames, max_size=5))
def test_an_ended_answer_is_read_by_its_organisation_only(sent: list[Frame]) -> None:
    stored = pack_ended(sent, "org-a")
    assert unpack_ended(stored, "org-a") == sent
    assert unpack_ended(stored, "org-b") is None
    assert unpack_ended(None, "org-a") is None


def sized(request_id: str, number: int, size: int) -> Frame:
    return Frame(request_id, FrameKind.DATA, number, bytes(size))


def test_a_crowded_mailbox_is_served_in_portions_and_light_frames_overtake() -> None:
    heavy = [sized(f"heavy-{n % 100}", n // 100 + 1, 50_000) for n in range(1000)]
    crowd, quiet = Crowd(), 0
    entries = [crowd.next(heavy)]
    while crowd:
        quiet += 1
        came = [sized("quiet", quiet, 200), sized("heavy-0", 10 + quiet, 200)]
        entries.append(crowd.next(came))
        assert entries[-1][0] == came[0]
    assert max(sum(len(each.payload) for each in entry) for entry in entries) < ENTRY_BYTES + 50_000 + 400
    order: dict[str, list[int]] = {}
    for each in itertools.chain(*entries):
        order.setdefault(each.request_id, []).append(each.number)
    assert len(order) == 101
    for numbers in order.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_very_many_small_frames_are_more_than_one_entry_too() -> None:
    crowd, sent = Crowd(), [sized(f"r{n % 50}", n // 50 + 1, 1000) for n in range(2000)]
    entries = [crowd.next(sent)]
    while crowd:
        entries.append(crowd.next([]))
    assert [len(entry) for entry in entries] == [525, 525, 525, 425]
    assert list(itertools.chain(*entries)) == sent


async def test_repeated_frames_are_dropped_and_order_is_kept() -> None:
    waiter = Waiter()
    for number in (1, 2, 2, 1, 3):
        waiter.push(frame(number))
    assert [f.number for f in await waiter.frames(0)] == [1, 2, 3]


async def test_a_gap_is_told_and_closed_by_sending_again() -> None:
    waiter = Waiter()
    waiter.push(frame(1))
    waiter.push(frame(3))
    assert [f.number for f in await waiter.frames(0)] == [1]
    gap_before = waiter.gap
    for number in (2, 3, 4):
        waiter.push(frame(number))
    assert (gap_before, waiter.gap) == (True, False)
    assert [f.number for f in await waiter.frames(0)] == [2, 3, 4]


async def test_a_frame_numbered_zero_stands_outside_the_order() -> None:
    waiter = Waiter(after=7)
    waiter.push(Frame("r", FrameKind.REPLY, 0, b"{}"))
    assert len(await waiter.frames(0)) == 1
    assert waiter.last_number == 7


async def test_waiting_ends_with_the_time_or_a_wake() -> None:
    waiter = Waiter()
    assert await waiter.frames(0.01) == []
    asyncio.get_running_loop().call_soon(waiter.wake)
    assert await waiter.frames(5) == []


async def test_what_arrives_during_a_write_forms_the_next_one() -> None:
    writes: list[list[int]] = []
    released = asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        writes.append(list(items))
        await released.wait()

    batcher: Batcher[int] = Batcher(write, name="test")
    first = batcher.put(0)
    await asyncio.sleep(0)
    rest = [batcher.put(number) for number in range(1, 6)]
    released.set()
    await asyncio.gather(first, *rest)
    assert writes == [[0], [1, 2, 3, 4, 5]]


async def test_a_failed_write_is_told_to_each_of_its_items_and_the_next_goes_on() -> None:
    async def write(items: Sequence[int]) -> None:
        if 1 in items:
            raise ConnectionError("gone")

    batcher: Batcher[int] = Batcher(write, name="test", limit=2)
    outcomes = await asyncio.gather(*(batcher.put(number) for number in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError, type(None), type(None)]
    await batcher.close()


async def test_who_waits_for_company_goes_as_soon_as_there_is_no_more_room() -> None:
    writes: list[list[int]] = []

    async def write(items: Sequence[int]) -> None:
        writes.append(list(items))

    batcher: Batcher[int] = Batcher(write, name="test", limit=3, linger=60.0)
    first = batcher.put(0)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await asyncio.gather(first, *(batcher.put(number) for number in range(1, 6)))
    assert writes == [[0, 1, 2], [3, 4, 5]]


async def test_a_waiter_that_left_costs_no_write() -> None:
    writes: list[list[int]] = []

    async def write(items: Sequence[int]) -> None:
        writes.append(list(items))

    batcher: Batcher[int] = Batcher(write, name="test")
    leaving, staying = batcher.put(1), batcher.put(2)
    leaving.cancel()
    await staying
    assert writes == [[2]]
    with pytest.raises(asyncio.CancelledError):
        await leaving

"""The backlog of an answer: what is sent, held, repeated and forgotten, as receipts come or do not come."""

import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import cast

import pytest

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from llm_stream.answer.backlog import ASK_SECONDS, FRAME_BYTES, MARK_BYTES, MAX_ASK_SECONDS, AnswerMemory, Backlog
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.frames import Frames
from llm_stream.answer.whole_answers import SMALL_BYTES, WholeAnswers
from llm_stream.ports import UpstreamAnswer
from llm_stream.turns.kept_answers_quota import KeptAnswers
from tests.support.relay import request_of
from tests.support.waiting import eventually

KIB = 1024
# Frames of one KiB: a window of 256 of them.
PAYLOAD = bytes(KIB)
WINDOW = 256


class Mailbox:
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def send(self, mailbox: str, frame: Frame) -> None:
        self.frames.append(frame)

    def numbers(self) -> list[int]:
        return [frame.number for frame in self.frames if frame.kind == FrameKind.DATA]

    def marks(self) -> int:
        return sum(frame.kind == FrameKind.MARK for frame in self.frames)


class World:
    def __init__(self, memory: AnswerMemory | None = None) -> None:
        self.memory = memory or AnswerMemory()
        self.mailbox = Mailbox()
        self.delivery = Delivery(cast("LiveWriter", self.mailbox), "mailbox")
        self.holds: list[bool] = []
        self.backlog = Backlog("r", self.delivery, memory=self.memory, hold=self.holds.append)
        self.backlog.add(Frame("r", FrameKind.START, 1, b""))

    def say(self, frames: int) -> None:
        for _ in range(frames):
            self.backlog.add(Frame("r", FrameKind.DATA, self.backlog.last + 1, PAYLOAD))

    def held(self) -> bool:
        return bool(self.holds) and self.holds[-1]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.backlog.close()


async def test_a_short_answer_asks_for_no_receipt(world: World) -> None:
    world.say(MARK_BYTES // KIB)
    assert world.mailbox.marks() == 0
    world.backlog.close()
    assert (world.memory.unread, world.memory.kept) == (0, 0)


async def test_an_upstream_waits_beyond_the_window_until_receipts_have_come(world: World) -> None:
    world.say(WINDOW)
    assert not world.held()
    world.say(MARK_BYTES // KIB + 1)
    assert world.held()
    world.backlog.received(10)
    assert world.held()
    world.backlog.received(world.backlog.last)
    assert not world.held()
    assert world.memory.unread == 0


async def test_a_steady_reader_never_holds_its_upstream(world: World) -> None:
    for _ in range(100):
        world.say(50)
        world.backlog.received(world.backlog.last)
    assert not world.holds


async def test_a_mark_that_got_lost_is_sent_again(world: World) -> None:
    world.say(2 * WINDOW)
    world.mailbox.frames.clear()
    await eventually(lambda: world.mailbox.marks() > 0, timeout=5 * ASK_SECONDS)


async def test_while_nobody_reads_it_asks_ever_more_seldom(world: World) -> None:
    world.say(2 * WINDOW)
    pauses = []
    for _ in range(4):
        pauses.append(world.backlog._pause)
        world.backlog._ask_again()
    assert pauses == [ASK_SECONDS, 2 * ASK_SECONDS, MAX_ASK_SECONDS, MAX_ASK_SECONDS]
    world.backlog.received(10)
    assert world.backlog._pause == ASK_SECONDS


@pytest.mark.parametrize("needed", [False, True])
async def test_with_the_frames_of_a_full_memory_their_text_is_forgotten(needed: bool) -> None:
    world = World(AnswerMemory(max_kept=100 * KIB))
    world.backlog.needs_texts = needed
    world.backlog.texts.append("what was said")
    world.say(3 * WINDOW)
    world.backlog.received(world.backlog.last)
    world.say(WINDOW)
    assert world.backlog.forgotten > 0
    assert world.backlog.texts_forgotten is not needed
    assert bool(world.backlog.texts) is needed
    world.backlog.close()


async def test_receipts_of_what_was_never_sent_and_old_ones_change_nothing(world: World) -> None:
    world.say(2 * WINDOW)
    world.backlog.received(50)
    before = world.memory.unread
    world.backlog.received(20)
    assert world.memory.unread == before
    world.backlog.received(10**9)
    assert (world.memory.unread, world.held()) == (0, False)


async def test_whoever_takes_a_long_answer_up_gets_it_as_fast_as_it_reads(world: World) -> None:
    world.say(1000)
    world.mailbox.frames.clear()
    world.backlog.repeat(1)
    assert world.mailbox.frames[0].number == 0
    while (numbers := world.mailbox.numbers())[-1] < world.backlog.last:
        assert len(numbers) < 2 * WINDOW
        read = numbers[-1]
        world.mailbox.frames.clear()
        world.backlog.received(read)
        world.say(1)
        assert world.mailbox.numbers()[0] == read + 1
    world.say(1)
    assert world.mailbox.numbers()[-1] == world.backlog.last


async def test_an_answer_that_ends_while_somebody_catches_up_is_sent_to_its_end(world: World) -> None:
    world.say(1000)
    world.backlog.repeat(1)
    world.backlog.close()
    assert world.mailbox.numbers()[-1] == world.backlog.last


async def test_where_all_answers_hold_too_much_each_has_a_smaller_window() -> None:
    memory = AnswerMemory(max_unread=300 * KIB)
    first, second = World(memory), World(memory)
    first.say(250)
    second.say(200)
    assert first.holds == []
    assert second.holds[-1:] == [True]
    first.backlog.received(251)
    second.backlog.received(201)
    assert second.holds[-1:] == [False]
    for each in (first, second):
        each.backlog.close()
    assert (memory.unread, memory.kept) == (0, 0)


async def test_what_clients_have_is_forgotten_where_all_answers_are_too_much() -> None:
    world = World(AnswerMemory(max_kept=300 * (KIB + FRAME_BYTES)))
    for _ in range(20):
        world.say(100)
        world.backlog.received(world.backlog.last)
    assert len(world.backlog.kept) < 400
    assert world.backlog.last == 2001
    assert world.backlog.can_repeat(world.backlog.last)
    assert not world.backlog.can_repeat(1)
    world.mailbox.frames.clear()
    world.backlog.repeat(1990)
    # How it began is told all the same.
    assert world.mailbox.frames[0].kind == FrameKind.START
    assert world.mailbox.numbers()[-1] == 2001
    world.backlog.close()
    assert (world.memory.unread, world.memory.kept) == (0, 0)


def test_ended_answers_are_kept_up_to_a_size_a_share_and_a_total() -> None:
    kept = KeptAnswers(max_answer=10, max_total=40)
    assert not kept.admits("a", 11)
    assert kept.admits("a", 10)
    # A quarter is one organisation's.
    assert not kept.admits("a", 1)
    assert all(kept.admits(org, 10) for org in "bcd")
    assert not kept.admits("e", 1)


def test_what_was_kept_makes_room_when_its_time_is_over() -> None:
    kept = KeptAnswers(seconds=0.0, max_answer=10, max_total=40)
    assert all(kept.admits("a", 10) for _ in range(100))


class Incoming:
    """An upstream that only waits and goes on."""

    def __init__(self) -> None:
        self._waits = False

    def waits(self) -> bool:
        return self._waits

    def pause(self) -> None:
        self._waits = True

    def resume(self) -> None:
        self._waits = False


def begin(answers: WholeAnswers, request_id: str, org_id: str, size: int) -> tuple[Incoming, ExitStack]:
    """An answer of which so much has arrived; it goes on until the stack is closed."""
    incoming, stack = Incoming(), ExitStack()
    grew = stack.enter_context(answers.receiving(request_id, org_id, cast("UpstreamAnswer", incoming)))
    grew(size)
    return incoming, stack


async def test_one_whole_answer_at_a_time_goes_on_where_all_are_too_much() -> None:
    answers = WholeAnswers(max_bytes=10 * SMALL_BYTES)
    begun = [begin(answers, f"r{n}", f"org-{n}", 2 * SMALL_BYTES) for n in range(8)]
    assert [incoming.waits() for incoming, _ in begun] == [False] * 5 + [True] * 3
    for _, stack in begun:
        stack.close()
    # Received is not read: a receipt makes room.
    for n in range(8):
        answers.turn_over(f"r{n}")
    late, stack = begin(answers, "late", "org-late", 2 * SMALL_BYTES)
    assert not late.waits()
    second, second_stack = begin(answers, "second", "org-second", SMALL_BYTES)
    assert second.waits()
    for n in range(8):
        answers.received(f"r{n}")
    assert not second.waits()
    for each in (stack, second_stack):
        each.close()
    answers.received("late")
    answers.received("second")
    assert answers.total == 0


async def test_an_organisation_that_reads_nothing_holds_up_only_itself() -> None:
    answers = WholeAnswers(max_bytes=40 * SMALL_BYTES)
    begun = [begin(answers, f"r{n}", "loud", 6 * SMALL_BYTES) for n in range(3)]
    assert [incoming.waits() for incoming, _ in begun] == [False, True, True]
    quiet, stack = begin(answers, "quiet", "quiet", SMALL_BYTES)
    assert not quiet.waits()
    for _, each in begun:
        each.close()
    stack.close()


async def test_a_whole_answer_that_fails_or_is_small_counts_no_longer() -> None:
    answers = WholeAnswers()
    _, stack = begin(answers, "small", "org", SMALL_BYTES)
    stack.close()
    answers.turn_over("small")
    _, stack = begin(answers, "r", "org", 10**9)
    stack.__exit__(ValueError, ValueError("cut"), None)
    assert answers.total == 0


def test_an_answer_that_is_over_lets_go_of_its_request_at_once() -> None:
    """Requests have megabytes, and the collector of cycles runs seldom."""
    request = request_of({"messages": []})
    known = weakref.ref(request)
    frames = Frames(request, time.time() + 60, Delivery(cast("LiveWriter", Mailbox()), "m"), lambda: None)
    frames.emit(b"{}", tokens=1, text="hello")
    gc.disable()
    try:
        del request, frames
        assert known() is None
    finally:
        gc.enable()

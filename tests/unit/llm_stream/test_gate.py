"""The gate before an answer: order, waiting, where it ends, and what the stages see meanwhile."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.answer.failure import AnswerFailed, server_error
from llm_stream.answer.frames import Frames
from llm_stream.answer.gate import MAX_WAITING, Cut, CutShort, Gate, Look, Piece, Verdict
from tests.support.relay import Mailbox, frames_on

DELTAS = st.lists(st.text("ab. ", min_size=1, max_size=5), max_size=30)


def chunk(text: str) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


class Scripted:
    """A guard that lets pass up to piece number `upto`, and ends the answer at `cut_at`."""

    def __init__(self, upto: int = 0, cut_at: int | None = None, keep: int = 0) -> None:
        self.upto = upto
        self.cut_at = cut_at
        self.keep = keep
        self.failed: AnswerFailed | None = None
        self.seen: list[int] = []

    def arrived(self, piece: Piece) -> None:
        self.seen.append(piece.number)

    def close(self) -> None:
        return None

    def look(self, piece: Piece) -> Verdict:
        if self.failed is not None:
            raise self.failed
        if piece.number > self.upto:
            return Look.WAIT
        if piece.number == self.cut_at:
            return Cut("moderation", "content_filter", self.keep)
        return Look.PASS


class Gated:
    """A gate with one guard, and what came of it."""

    def __init__(self, **guard: Any) -> None:
        self.mailbox = Mailbox()
        self.frames: Frames = frames_on(self.mailbox)
        self.guard = Scripted(**guard)
        self.closed = 0
        self.holds: list[bool] = []
        self.gate = Gate(self.frames, [self.guard], self._close, self.holds.append)

    def _close(self) -> None:
        self.closed += 1

    @property
    def said(self) -> str:
        return "".join(orjson.loads(data)["choices"][0]["delta"]["content"] for data in self.mailbox.data())


def test_pieces_wait_for_their_guard_and_leave_in_order() -> None:
    gated = Gated(upto=1)
    for text in ("One ", "two ", "three"):
        gated.gate.emit(chunk(text), tokens=1, text=text)
    assert gated.said == "One "
    assert gated.gate.released_text == "One two three"
    assert gated.gate.released_tokens == 3
    gated.guard.upto = 3
    gated.gate.proceed()
    assert gated.said == "One two three"
    assert gated.guard.seen == [1, 2, 3]
    assert gated.closed == 0


def test_what_is_behind_a_cut_never_leaves() -> None:
    gated = Gated(upto=9, cut_at=2, keep=2)
    gated.gate.emit(chunk("One "), tokens=1, text="One ")
    with pytest.raises(CutShort) as cut:
        gated.gate.emit(chunk("two."), tokens=1, text="two.")
    assert cut.value.cut.by == "moderation"
    assert gated.said == "One tw"
    with pytest.raises(CutShort):
        gated.gate.emit(chunk("three"), tokens=1, text="three")
    assert gated.said == "One tw"
    # Whoever emits is told: there is nothing to close from outside.
    assert gated.closed == 0


async def test_a_cut_that_comes_later_closes_the_upstream() -> None:
    gated = Gated(cut_at=1)
    gated.gate.emit(chunk("One"), tokens=1, text="One")
    gated.guard.upto = 1
    gated.gate.proceed()
    assert gated.closed == 1
    with pytest.raises(CutShort):
        await gated.gate.drained()
    assert gated.said == ""


async def test_a_guard_that_cannot_tell_fails_the_answer() -> None:
    gated = Gated()
    gated.gate.emit(chunk("One"), tokens=1, text="One")
    gated.guard.failed = server_error(503, "away", "moderation_unavailable")
    gated.gate.proceed()
    for action in (gated.gate.check, lambda: gated.gate.emit(b"{}")):
        with pytest.raises(AnswerFailed):
            action()
    with pytest.raises(AnswerFailed):
        await gated.gate.drained()


def test_an_upstream_waits_while_much_does() -> None:
    gated = Gated()
    for number in range(MAX_WAITING + 5):
        gated.gate.emit(chunk("a"), tokens=1, text="a")
        assert gated.holds == ([True] if number >= MAX_WAITING else [])
    gated.guard.upto = MAX_WAITING
    gated.gate.proceed()
    assert gated.holds == [True]
    gated.guard.upto = 99
    gated.gate.proceed()
    assert gated.holds == [True, False]


async def test_nothing_leaves_once_the_answer_is_over() -> None:
    gated = Gated()
    gated.gate.emit(chunk("One"), tokens=1, text="One")
    gated.gate.close()
    gated.guard.upto = 9
    gated.gate.proceed()
    await gated.gate.drained()
    assert gated.said == ""


@given(DELTAS, st.lists(st.integers(0, 30), max_size=10), st.integers(0, 30), st.integers(0, 5))
def test_what_leaves_is_a_beginning_of_what_came(deltas: list[str], steps: list[int], cut_at: int, keep: int) -> None:
    gated = Gated(cut_at=cut_at, keep=keep)
    waiting = sorted(steps)
    for number, text in enumerate(deltas, 1):
        while waiting and waiting[0] <= number:
            gated.guard.upto = waiting.pop(0)
            gated.gate.proceed()
        try:
            gated.gate.emit(chunk(text), tokens=1, text=text)
        except CutShort:
            break
    came = "".join(deltas)
    assert came.startswith(gated.said)
    before = "".join(deltas[: cut_at - 1]) if 0 < cut_at <= len(deltas) else came
    assert len(gated.said) <= len(before) + keep

"""What stands between an answer and its client where somebody looks at each piece before it leaves.

Pieces wait in a queue until every guard lets them pass. A guard may end the answer at any of them: what was let through
stays, and nothing behind it is sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple, Protocol, TypeAlias

import orjson

from llm_stream.answer.backlog import Backlog
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.outlet import Outlet

# Pieces that wait before the upstream has to: what it generates meanwhile is paid for.
MAX_WAITING = 16


class Cut(NamedTuple):
    """The answer ends here: `by` whom, what its `finish_reason` is, and how much of the piece at hand still leaves."""

    by: Literal["budget", "moderation"]
    finish_reason: str
    keep: int = 0


class CutShort(Exception):
    """Raised in whoever makes the answer, once a guard has ended it."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(f"cut short by the {cut.by}")
        self.cut = cut


class Look(Enum):
    """What a guard says of a piece that it does not end the answer at."""

    PASS = auto()
    # It is not known yet: the guard calls `proceed` of the gate once it is.
    WAIT = auto()


Verdict: TypeAlias = Look | Cut


@dataclass(slots=True)
class Piece:
    """One message on its way; `number` counts from 1."""

    number: int
    data: bytes
    tokens: int
    text: str


def nobody_waits() -> None:
    """What a guard proceeds to while there is no gate."""


class Guard(Protocol):
    """Somebody who looks at an answer."""

    def arrived(self, piece: Piece) -> None:
        """A piece has come, behind others that may still wait."""
        ...

    def look(self, piece: Piece) -> Verdict:
        """Whether the piece at the head may leave. Asked again after WAIT; one that passes leaves at once.

        Raises AnswerFailed where that cannot be found out.
        """
        ...

    def close(self) -> None:
        """The answer is over: the gate is not there any more."""
        ...


class Gate:
    """An `Outlet` before the frames.

    `close_upstream` is called where an answer ends while nothing comes any more, `hold_upstream` where much waits.
    """

    def __init__(
        self,
        inner: Outlet,
        guards: Sequence[Guard],
        close_upstream: Callable[[], None],
        hold_upstream: Callable[[bool], None],
    ) -> None:
        self._inner = inner
        self._guards = guards
        self._close_upstream = close_upstream
        self._hold_upstream = hold_upstream
        self._held = False
        self._queue: deque[Piece] = deque()
        self._count = 0
        # What was said before anybody stood here, of an answer that is taken up.
        self._texts = [inner.released_text]
        self._tokens = inner.released_tokens
        self._ended: CutShort | AnswerFailed | None = None
        self._moved = asyncio.Event()

    # -- as the stages see it -----------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        return self._inner.begun

    @property
    def last_byte_at(self) -> float | None:
        return self._inner.last_byte_at

    @property
    def released_text(self) -> str:
        """All text of this round, that which waits among it: nobody is to say it again."""
        return "".join(self._texts)

    @property
    def released_tokens(self) -> int:
        return self._tokens

    @property
    def continuable(self) -> bool:
        return self._inner.continuable

    def said_for_good(self) -> None:
        self._inner.said_for_good()

    @property
    def delivery(self) -> Delivery:
        return self._inner.delivery

    @property
    def backlog(self) -> Backlog:
        return self._inner.backlog

    def start(self, headers: dict[str, str], *, kept_bytes: int = 0) -> None:
        self._inner.start(headers, kept_bytes=kept_bytes)

    def go_on_from(self, text: str) -> None:
        self._texts.insert(0, text)
        self._inner.go_on_from(text)

    def begin_round(self) -> None:
        self._texts.clear()
        self._tokens = 0
        self._inner.begin_round()

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Send a piece as soon as it may leave. Raises CutShort and AnswerFailed."""
        self.check()
        if text:
            self._texts.append(text)
        self._tokens += tokens
        self._count += 1
        piece = Piece(self._count, data, tokens, text)
        self._queue.append(piece)
        for guard in self._guards:
            guard.arrived(piece)
        self._pump()
        self.check()

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """A whole answer has been looked at before it is sent."""
        self._inner.emit_whole(body, tokens=tokens)

    def check(self) -> None:
        """Raises CutShort or AnswerFailed once the answer is to end."""
        if self._ended is not None:
            raise self._ended

    # -- the queue ----------------------------------------------------------------------------------------------

    def proceed(self) -> None:
        """A guard knows more: let pass what may, and have the upstream closed where the answer ends."""
        self._pump()
        if self._ended is not None:
            self._close_upstream()

    async def drained(self) -> None:
        """Wait until everything has left. Raises CutShort and AnswerFailed."""
        while self._queue and self._ended is None:
            self._moved.clear()
            await self._moved.wait()
        self.check()

    def close(self) -> None:
        """The answer is over: nothing that still waits is sent.

        Guards and gate know each other, and what was raised knows who raised it: large answers would live on.
        """
        self._queue.clear()
        self._guards = ()
        if self._ended is not None:
            self._ended.with_traceback(None)
            self._ended = None

    def _pump(self) -> None:
        while self._queue and self._ended is None:
            piece = self._queue[0]
            verdict = self._looked_at(piece)
            if verdict is Look.WAIT:
                break
            self._queue.popleft()
            if isinstance(verdict, Cut):
                self._end(piece, verdict)
            elif self._ended is None:
                self._inner.emit(piece.data, tokens=piece.tokens, text=piece.text)
        if self._held or len(self._queue) > MAX_WAITING:
            self._hold()
        self._moved.set()

    def _hold(self) -> None:
        """Have the upstream wait while much does, and read on once nothing does."""
        held = len(self._queue) > MAX_WAITING or (self._held and bool(self._queue))
        if held != self._held:
            self._held = held
            self._hold_upstream(held)

    def _looked_at(self, piece: Piece) -> Verdict:
        try:
            for guard in self._guards:
                if (verdict := guard.look(piece)) is not Look.PASS:
                    return verdict
        except AnswerFailed as failed:
            self._queue.clear()
            self._ended = failed
            return Look.WAIT
        return Look.PASS

    def _end(self, piece: Piece, cut: Cut) -> None:
        self._queue.clear()
        kept = piece.text[: cut.keep]
        if kept.strip():
            self._inner.emit(_shortened(piece.data, kept), tokens=max(1, piece.tokens), text=kept)
        self._ended = CutShort(cut)


def _shortened(data: bytes, text: str) -> bytes:
    """A chunk that says no more than that."""
    chunk = orjson.loads(data)
    choice = chunk["choices"][0]
    # What is told about the tokens of the whole piece would say what was cut.
    choice.pop("logprobs", None)
    choice["delta"]["content"] = text
    return orjson.dumps(chunk)

"""Sessions: conversations, whose interactions and steps belong together."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from huggingplace import current
from huggingplace.errors import ValidationError
from huggingplace.interaction import ScoreValue, SessionFields, checked
from huggingplace.process_events import GUARD
from huggingplace.step import Step, StepTrace
from huggingplace.uuid7 import uuid7

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from huggingplace.log_writer import Recorder


class SessionState:
    """A session, whichever kind of client it is of: its id, what every interaction in it has, and its current trace."""

    def __init__(self, recorder: Recorder, session_id: str | None, defaults: Mapping[str, Any]) -> None:
        if session_id is not None and (not isinstance(session_id, str) or not session_id):
            raise ValidationError("A session's id must be a text, and not an empty one.", "session_id")
        for name in ("id", "scores", "trace_id", "session_id"):
            if name in defaults:
                raise ValidationError(f"{name} is no default for a session.", name)
        self.id = session_id or uuid7()
        self.recorder = recorder
        self.defaults = dict(defaults)
        checked({**self.defaults, "session_id": self.id})
        self.trace: StepTrace | None = None

    def trace_of_turn(self, recorder: Recorder) -> StepTrace:
        """Where a step at the root belongs: with those since the last interaction."""
        with GUARD:
            if self.trace is None or self.trace.interaction_id is not None:
                self.trace = StepTrace(recorder, self)
            return self.trace


class _Session:
    def __init__(self, state: SessionState) -> None:
        self._state = state
        # One may be entered again inside itself.
        self._entered: list[tuple[Token[SessionState | None], SessionState | None]] = []

    @property
    def id(self) -> str:
        return self._state.id

    def step(self, name: str, **given: Any) -> Step:
        """A step of the interaction that is logged next, or of the running step: `with session.step("retrieve"):`.

        `type`, `input`, `output` and `metadata` may be given here, or set on the step. Raises ValidationError.
        """
        return self._state.recorder.step(name, given, self._state)

    def _enter(self) -> None:
        before = current.session.get()
        self._entered.append((current.session.set(self._state), before))

    def _leave(self) -> None:
        if self._entered:
            current.leave(current.session, *self._entered.pop())
        self._state.recorder.keep_waiting(self._state)


class Session(_Session):
    """One conversation. In `with session:` everything that is logged and traced belongs to it."""

    def log(self, **fields: Unpack[SessionFields]) -> str:
        """As `HuggingPlace.log`, with the steps of the session since the last interaction."""
        return self._state.recorder.log(fields, self._state)

    def score(self, interaction_id: str, name: str, value: ScoreValue, **given: Any) -> str:
        """As `HuggingPlace.score`."""
        return self._state.recorder.score(interaction_id, name, value, given)

    def close(self) -> None:
        """Keep the steps that no interaction was logged for."""
        self._state.recorder.keep_waiting(self._state)

    def __enter__(self) -> Session:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()


class AsyncSession(_Session):
    """As `Session`, for `await`."""

    async def log(self, **fields: Unpack[SessionFields]) -> str:
        """As `Session.log`."""
        return self._state.recorder.log(fields, self._state)

    async def score(self, interaction_id: str, name: str, value: ScoreValue, **given: Any) -> str:
        """As `Session.score`."""
        return self._state.recorder.score(interaction_id, name, value, given)

    async def close(self) -> None:
        """As `Session.close`."""
        self._state.recorder.keep_waiting(self._state)

    async def __aenter__(self) -> AsyncSession:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

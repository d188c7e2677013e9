"""What the stages of an answer share: the request, what was sent of the answer, and the attempts made for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.events.chat import AnswerRequested, ContextUse, ServedSet
from llm_stream.answer.attempt import Attempts
from llm_stream.answer.frames import Frames
from llm_stream.answer.rounds import Rounds
from llm_stream.answer.whole_answers import WholeAnswers


@dataclass(slots=True)
class FactNotes:
    """What stages find out that the fact about the turn tells, however the turn ends."""

    context: ContextUse | None = None
    active_set: ServedSet | None = None

    def said(self) -> dict[str, Any]:
        """As the payload of the fact takes it."""
        found = {"context": self.context, "active_set": self.active_set}
        return {name: value for name, value in found.items() if value is not None}


class AnswerInProgress(NamedTuple):
    """One answer as it comes about; `deadline` is unix seconds.

    `is_ours` waits until it is known whether this instance is the one to answer. Nothing is sent before that.
    """

    request: AnswerRequested
    deadline: float
    frames: Frames
    attempts: Attempts
    is_ours: Callable[[], Awaitable[bool]]
    whole_answers: WholeAnswers
    notes: FactNotes
    rounds: Rounds

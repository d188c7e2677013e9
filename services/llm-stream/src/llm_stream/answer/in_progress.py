"""What the stages of an answer share: the request, what was sent of the answer, and the attempts made for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from common.events.chat import ActiveSetUse, AnswerRequested, ContextUse, KeptTexts, ModerationUse
from common.events.retrieval_use import RetrievalUse
from common.events.session_summary import RollingSummary
from llm_stream.answer.attempt import Attempts
from llm_stream.answer.outlet import Outlet
from llm_stream.answer.question_turn import QuestionTurn
from llm_stream.answer.rounds import Rounds
from llm_stream.answer.spending import Spending
from llm_stream.answer.whole_answers import WholeAnswers
from llm_stream.history.session_notes import SessionNotes


@dataclass(slots=True)
class FactNotes:
    """What stages find out that the fact about the turn tells, however the turn ends."""

    context: ContextUse | None = None
    active: ActiveSetUse | None = None
    served_by: str | None = None
    cache: str | None = None
    ended_by: str | None = None
    moderation: ModerationUse | None = None
    kept: KeptTexts | None = None
    retrieval: RetrievalUse | None = None
    # Where the answer was to be the summary of a session.
    summary: RollingSummary | None = None
    # What a session is to keep of the turn, which `kept` is made from; None before that is known.
    session: SessionNotes | None = None
    # Whether the user wants to be remembered in later sessions.
    remembers: bool = False
    # What was asked beside, of the model that writes the question of a search.
    question: QuestionTurn | None = None

    def said(self) -> dict[str, Any]:
        """As the payload of the fact takes it."""
        return {name: value for name in NOTED if (value := getattr(self, name)) is not None}


# What is for the turn itself.
UNTOLD = frozenset({"session", "remembers", "question"})
NOTED = tuple(field.name for field in fields(FactNotes) if field.name not in UNTOLD)


class AnswerInProgress(NamedTuple):
    """One answer as it comes about; `deadline` is unix seconds.

    `is_ours` waits until it is known whether this instance is the one to answer. Nothing is sent before that.
    """

    request: AnswerRequested
    deadline: float
    frames: Outlet
    attempts: Attempts
    is_ours: Callable[[], Awaitable[bool]]
    whole_answers: WholeAnswers
    notes: FactNotes
    rounds: Rounds
    # What the key has to spend, where that is limited.
    spending: Spending | None = None
    # Looks at an answer in one piece before it is sent.
    judge: Callable[[str], Awaitable[None]] | None = None

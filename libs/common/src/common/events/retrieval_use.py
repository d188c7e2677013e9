"""What of documents an answer was made with, as the fact about the turn tells it."""

from typing import Annotated, Literal

from pydantic import Field

from common.events.spec import Payload

# Of a model that is to write the question of a search. `used`: it did. Else rules make the question: the model was
# `late`, `failed`, wrote what is no question (`unusable`), or is no alias that answers (`no_alias`).
QuestionOutcome = Literal["used", "late", "failed", "unusable", "no_alias"]


class PassageSource(Payload):
    """A passage that an answer was made with, and where it stands: `start` to `end` are characters of the document."""

    passage_id: str
    document_id: str
    document: str
    collection: str
    heading: str = ""
    page: int | None = None
    start: int = 0
    end: int = 0
    score: float


class RetrievalUse(Payload):
    """What became of the search in documents that a config wants. `sources` stood in the prompt, the best first.

    `nothing`: no passage was relevant, or none had room. `late`: it took longer than its deadline, and was left out.
    `failed`: it could not be made. `found` passages came of it, and `seconds` is how long it took.

    `question_model` is what came of the model that was asked what to search for; None is that none was.
    """

    outcome: Literal["used", "nothing", "late", "failed"]
    found: int = 0
    sources: Annotated[tuple[PassageSource, ...], Field(fail_fast=True)] = ()
    seconds: float = 0.0
    question_model: QuestionOutcome | None = None

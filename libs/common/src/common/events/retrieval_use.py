"""What of documents an answer was made with, as the fact about the turn tells it."""

from typing import Annotated, Literal

from pydantic import Field

from common.events.spec import Payload


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
    """

    outcome: Literal["used", "nothing", "late", "failed"]
    found: int = 0
    sources: Annotated[tuple[PassageSource, ...], Field(fail_fast=True)] = ()
    seconds: float = 0.0

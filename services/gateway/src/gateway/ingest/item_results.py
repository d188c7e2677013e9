"""What is told about each item of a request."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ItemError(BaseModel):
    """Why an item was not accepted, in the words of the one error shape."""

    model_config = ConfigDict(frozen=True)

    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str


class ItemResult(BaseModel):
    """What became of one item: 202 accepted, 400, 403 or 413 not, with the reason."""

    model_config = ConfigDict(frozen=True)

    index: int
    id: str | None
    status: int
    error: ItemError | None = None


class BatchAccepted(BaseModel):
    """What became of a batch; `batch_id` is None where nothing of it was accepted."""

    batch_id: str | None
    accepted: int
    rejected: int
    results: Annotated[list[ItemResult], Field(fail_fast=True)]


class InteractionAccepted(BaseModel):
    """One interaction is on the log."""

    success: bool = True
    status: Literal["accepted"] = "accepted"
    id: str
    batch_id: str
    message: str = "Interaction accepted."


class PartialSuccess(BaseModel):
    """What of an export was not taken, and why, in the names of OTLP."""

    rejectedSpans: str
    errorMessage: str


class TracesAccepted(BaseModel):
    """An export was taken; in protobuf an `ExportTraceServiceResponse`."""

    partialSuccess: PartialSuccess | None = None


class ScoreAccepted(BaseModel):
    """A score is on the log."""

    status: Literal["accepted"] = "accepted"
    id: str
    batch_id: str


class Rejected(Exception):
    """An item cannot be accepted; raised and caught within a request."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    def result(self, index: int, id: Any, within: str) -> dict[str, Any]:
        """An `ItemResult`; `within` is where the item stands in the body, empty where it is the body."""
        param = ".".join(part for part in (within, self.param or "") if part) or None
        error = {"message": self.message, "type": "invalid_request_error", "param": param, "code": self.code}
        known = id if isinstance(id, str) and len(id) <= MAX_ID else None
        return {"index": index, "id": known, "status": self.status, "error": error}


# What is told again of an id that is none.
MAX_ID = 64


@dataclass(slots=True)
class Sorted:
    """The items of a request: those to be accepted as JSON, and the result of each in its order."""

    accepted: list[bytes] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    sessions: set[str | None] = field(default_factory=set)
    origin: Literal["api", "otlp"] = "api"

"""What a command or query is answered with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

R_co = TypeVar("R_co", bound=BaseModel, covariant=True)


class ReplyBody(BaseModel):
    """Base of every reply. Only what was set travels: a field with a default may be absent, all others are there."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True)
class Reply(Generic[R_co]):
    """An HTTP-like answer; what is refused is raised as `common.failures.Refused` instead, on both sides.

    `headers` go to the caller as they are: `x-sonant-provider` and the like.
    """

    body: R_co
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def content(body: BaseModel) -> Any:
    """What travels of a reply, ready for JSON: the fields that were set, under their names on the wire."""
    return body.model_dump(mode="json", by_alias=True, exclude_unset=True)

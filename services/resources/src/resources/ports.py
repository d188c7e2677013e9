"""What resources needs from outside: a catalogue of versioned things, and the errors that steer an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.events.resources import Kind
from resources.work import Work


@dataclass(frozen=True, slots=True)
class Item:
    """One version of a resource. Times are unix milliseconds, as the provider gives them.

    `content` holds what the kind adds: `text`, `parameters`, `language_model` … in the provider's field names.
    A voice at the provider has no versions and is always version 0.
    """

    kind: Kind
    id: str
    name: str
    version: int
    created_on: int
    modified_on: int
    content: Mapping[str, Any]
    version_description: str = ""
    status: str = "usable"
    provenance: Mapping[str, Any] | None = None
    version_type: str = "FIXED"

    def body(self) -> dict[str, Any]:
        """The object as the API shows it; `status` only where it is not `usable`."""
        shown = {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "version_type": self.version_type,
            "version_description": self.version_description,
            "created_on": self.created_on,
            "modified_on": self.modified_on,
            **self.content,
        }
        if self.status != "usable":
            shown["status"] = self.status
        if self.provenance is not None:
            shown["provenance"] = self.provenance
        return shown


@dataclass(frozen=True, slots=True)
class Page:
    """Some of `total` items. Pages count from 0."""

    items: Sequence[Item]
    number: int
    size: int
    total: int


@dataclass(eq=False)
class Refused(Exception):
    """The command or question cannot be served; answered as the one error shape with `status`."""

    status: int
    message: str
    code: str
    param: str | None = None
    type: str = "invalid_request_error"
    # What else the caller should know, shown beside the four members: who uses a version, the provider's status.
    details: Mapping[str, Any] = field(default_factory=dict)


def not_found(kind: str, id: str, version: int | None = None) -> Refused:
    """404 for a resource or version that is not there, or not this organisation's."""
    which = f"{kind} '{id}'" if version is None else f"version {version} of {kind} '{id}'"
    return Refused(404, f"There is no {which}.", "not_found")


@dataclass(eq=False)
class ProviderDown(Exception):
    """The provider behind a catalogue did not answer; nothing is known about what it did."""

    message: str
    status: int | None = None
    retry_after: float | None = None


class Catalogue(Protocol):
    """Resources of one organisation. Every method raises `Refused` (404, 400, 409, or 502 with the provider's status
    and code) and `ProviderDown`.

    Writes run inside `work`, the transaction that also holds the audit entry and the facts. They are repeatable: a
    second call with the same `work.event_id` returns what the first created. Of voices a catalogue may have version 0
    alone, and refuse (409 `not_supported`) what would change one.
    """

    name: str

    async def list(self, org_id: str, kind: Kind, *, name: str | None, page: int, size: int) -> Page:
        """The latest version of each resource, newest first; `name` filters exactly."""

    async def versions(self, org_id: str, kind: Kind, id: str, *, page: int, size: int) -> Page:
        """All versions of one, newest first."""

    async def get(self, org_id: str, kind: Kind, id: str, version: int | None, *, or_copy: bool = True) -> Item:
        """One version; None is the latest, whose `version_type` is then `LATEST`.

        Without `or_copy` a provider that does not tell is no answer, even where there is a copy of what it had.
        """

    async def create(self, work: Work, kind: Kind, body: Mapping[str, Any]) -> Item:
        """A resource with version 0; `body` is validated by then."""

    async def create_version(self, work: Work, kind: Kind, id: str, body: Mapping[str, Any]) -> Item:
        """The next version."""

    async def rename(self, work: Work, kind: Kind, id: str, name: str) -> Item:
        """The latest version under the new name."""

    async def describe(self, work: Work, kind: Kind, id: str, version: int, description: str) -> Item:
        """The version with its new description."""

    async def delete_version(self, work: Work, kind: Kind, id: str, version: int) -> None:
        """One version; the last one takes the resource with it."""

    async def delete(self, work: Work, kind: Kind, id: str) -> None:
        """The resource with all versions."""


@dataclass(frozen=True, slots=True)
class Stock:
    """Some resources with all their versions, oldest first, and whether there are more pages."""

    resources: Sequence[Sequence[Item]]
    more: bool


class Source(Protocol):
    """Where whole resources can be copied from; raises `Refused` and `ProviderDown`."""

    async def stock(self, kind: Kind, page: int) -> Stock:
        """A page of resources. Pages count from 0."""

"""What resources needs from outside: catalogues of versioned things, and the tables they are kept in."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from common.events.resource_replies import AuditEntry, Resource, Status
from common.events.resource_terms import Kind, Pins
from common.failures import Refused
from common.storage.unit_of_work import UnitOfWork
from resources.scopes import Activation, Origin, Pinned, Revision, ScopeKey, State

# -- what is kept ----------------------------------------------------------------------------------------------


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
    status: Status = "usable"
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

    def resource(self) -> Resource:
        """The same as replies carry it."""
        return Resource.model_validate(self.body())


@dataclass(frozen=True, slots=True)
class Page:
    """Some of `total` items. Pages count from 0."""

    items: Sequence[Item]
    number: int
    size: int
    total: int


def not_found(kind: str, id: str, version: int | None = None) -> Refused:
    """404 for a resource or version that is not there, or not this organisation's."""
    which = f"{kind} '{id}'" if version is None else f"version {version} of {kind} '{id}'"
    return Refused(404, f"There is no {which}.", "not_found")


def name_taken(kind: Kind, name: str, id: str) -> Refused:
    """409 for a name that another resource has: `id`."""
    return Refused(409, f"The name '{name}' belongs to another {kind}.", "name_taken", "name", details={"id": id})


# -- the tables ------------------------------------------------------------------------------------------------
#
# Each object is of one organisation. Every method raises StoreUnavailableError while the database is away.


class CatalogueTables(Protocol):
    """Resources and versions: our own catalogue, and the last known copy of a provider's."""

    async def get(self, kind: Kind, id: str, version: int | None) -> Item | None:
        """One version, None for the latest; None when it is not there."""

    async def latest_page(self, kind: Kind, name: str | None, page: int, size: int, *, drafts: bool = True) -> Page:
        """The latest version of each resource, newest resource first; `name` filters exactly.

        With `drafts` False what waits in quarantine is left out.
        """

    async def versions_page(self, kind: Kind, id: str, page: int, size: int) -> Page:
        """The versions of one resource, newest first; a total of 0 says that there is no such resource."""

    async def whole(self, named: Sequence[tuple[Kind, str]]) -> list[Item]:
        """Every version of these resources, by kind, id and version; what is not there is left out."""

    async def standing(self, tools: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """`status` and `provenance` of those of these tools that have more to say than that they are usable."""

    async def quarantined(self, kind: Kind, name: str) -> str | None:
        """The id of what waits in quarantine under this name."""

    async def tool_names(self, *, but: str = "") -> Sequence[str]:
        """The names of the tools, in every status; not that of the tool with the id `but`."""

    async def home(self, kind: Kind, id: str) -> str | None:
        """The name of the catalogue that a resource is in."""

    async def used_by(self, kind: Kind, id: str, version: int | None, latest: bool) -> Sequence[Mapping[str, Any]]:
        """Who has this version in an active set, some at most; with `version` None, who has any.

        `latest` says that those who follow the latest version have this one.
        """


class CatalogueWrites(CatalogueTables, Protocol):
    """The same within a unit of work."""

    async def add(self, kind: Kind, id: str, catalogue: str, name: str) -> None:
        """A resource without a version yet; raises `Refused` (409) for a name that is taken."""

    async def add_version(self, kind: Kind, id: str, content: Mapping[str, Any], description: str) -> int | None:
        """The number of the next version, which holds this; None without such a resource. Numbers never come again."""

    async def claim_name(self, kind: Kind, id: str, name: str) -> None:
        """Raises `Refused` (409) when another resource of the kind has this name."""

    async def rename(self, kind: Kind, id: str, name: str) -> None: ...

    async def describe(self, kind: Kind, id: str, version: int, description: str) -> None: ...

    async def remove_version(self, kind: Kind, id: str, version: int) -> None:
        """Remove one version, and with the last one the resource."""

    async def remove(self, kind: Kind, id: str) -> None:
        """Remove the resource with all its versions."""

    async def restore(self, catalogue: str, versions: Sequence[Item]) -> Sequence[int]:
        """Insert the versions of one resource as they are, under their own ids, numbers and times.

        What is here already stays. Returns the numbers that are new.
        """

    async def keep(self, catalogue: str, items: Sequence[Item]) -> None:
        """Write versions to the copy of a provider's catalogue."""

    async def set_origin(self, kind: Kind, id: str, status: str, provenance: Mapping[str, Any] | None) -> None:
        """Say whether a resource may be used, and where it comes from."""

    async def set_status(self, id: str, status: str, provenance: Mapping[str, Any] | None = None) -> Item:
        """The tool with another status, and with where it came from if that is given. Raises `Refused` (404)."""

    async def replace_status(self, tools: Sequence[str], before: str, after: str) -> Sequence[str]:
        """Give those of these tools that have one status another; returns which they were."""


class ScopeTables(Protocol):
    """Active sets: scopes, their revisions, what is pinned, and what was live when."""

    async def clock(self) -> int:
        """The organisation's clock: 0 before its first write."""

    async def states(self, keys: Sequence[ScopeKey]) -> dict[ScopeKey, State]:
        """What is switched on in these scopes; those never switched are left out."""

    async def contents(self, wanted: Sequence[Pinned]) -> dict[Pinned, Item]:
        """The items behind pins, each as it is shown; those that are not there are left out."""

    async def revision_pins(self, key: ScopeKey, revision: int) -> Pins | None:
        """What a revision of a scope consists of; None where there is no such revision."""

    async def former(self, key: ScopeKey, revision: int | None) -> int | None:
        """What was switched on last before `revision`; a candidate that was never completed does not count."""

    async def using(self, kind: Kind, id: str) -> list[ScopeKey]:
        """The scopes that have a resource in their current set or candidate."""

    async def using_by_config(
        self, kind: Kind, id: str, version: int | None, latest: bool
    ) -> Sequence[Mapping[str, Any]]:
        """Who has this version in an active set through a config there that names it, some at most.

        With `version` None, who has any; `latest` says that those who name no version have this one.
        """

    async def occupied(self, project_id: str, limit: int) -> list[ScopeKey]:
        """At most `limit` scopes of a project that have a set, the project's own first."""

    async def history(self, key: ScopeKey, *, limit: int, before: int | None) -> Sequence[Revision]:
        """Revisions of a scope, newest first, behind revision `before`."""

    async def activations(
        self, key: ScopeKey, *, since: datetime, before: int | None, limit: int
    ) -> Sequence[Activation]:
        """Changes of what was live in a scope since a moment, newest first, until its revision `before` came."""

    async def live_at(self, key: ScopeKey, moment: datetime) -> Activation | None:
        """What was switched on in a scope at a moment."""

    async def latest_at(self, pin: Pinned, moment: datetime) -> int | None:
        """Which version was the latest at a moment, as far as versions of then are still there."""


class ScopeWrites(ScopeTables, Protocol):
    """The same within a unit of work."""

    async def add_revision(self, key: ScopeKey, pins: Pins, origin: Origin, note: str, restored: int | None) -> int:
        """The number of a new revision, counted from 1 for each scope; numbers never come again."""

    async def put(self, key: ScopeKey, *, revision: int | None, candidate: int | None, percent: float) -> State:
        """Switch a scope over, and note since when."""


class AuditTable(Protocol):
    """The audit trail, read back."""

    async def page(self, *, limit: int, before: int | None, target: str | None) -> Sequence[AuditEntry]:
        """The newest entries behind entry `before`."""

    async def newest(self) -> int:
        """The number of the last entry, 0 without one."""

    async def deleted(self, since: int) -> AbstractSet[str]:
        """The targets of what was deleted after entry `since`."""

    async def was_promoted(self, tool_id: str) -> bool:
        """Whether a tool was ever made usable."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of an organisation, for reading."""

    catalogue: CatalogueTables
    scopes: ScopeTables
    audit: AuditTable


@dataclass(frozen=True, slots=True)
class WriteTables:
    """The tables of an organisation within a unit of work."""

    catalogue: CatalogueWrites
    scopes: ScopeWrites
    audit: AuditTable


Work: TypeAlias = UnitOfWork[WriteTables]


class Store(Protocol):
    """The database, for reading."""

    def of(self, org_id: str) -> Tables:
        """The tables as they are at each look."""

    def snapshot(self, org_id: str) -> AbstractAsyncContextManager[Tables]:
        """The tables as they are at one moment."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where in which history the database is: its token, the identity of its tables, and how many facts it has had."""

    token: str
    tables: int
    position: int

    def continues(self, before: "Lineage") -> bool:
        """Whether this comes after `before` in the same history."""
        return self.tables == before.tables and self.position >= before.position


class LineageTable(Protocol):
    """The history of the database. Every method raises StoreUnavailableError."""

    async def now(self) -> Lineage:
        """Where it is now; raises StoreUnavailableError in the middle of a restore too."""

    async def is_new(self) -> bool:
        """Whether nothing was ever written."""

    async def clocks(self, org_ids: Collection[str]) -> Mapping[str, int]:
        """The clocks of those that are known."""

    async def begin_anew(self, above: int) -> None:
        """Give it another token, and let every clock go on above `above`."""


class ProviderCopy(Protocol):
    """The last known copy of what a provider holds, beside what is asked of it now."""

    async def clock(self, org_id: str) -> int:
        """The organisation's clock before the provider is asked."""

    async def remember(self, org_id: str, items: Sequence[Item], seen: int) -> None:
        """Write what was read through to the copy, unless the organisation changed something since clock `seen`."""


# -- catalogues ------------------------------------------------------------------------------------------------


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


# -- the voice provider's access tokens --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when it was had and ends, in unix seconds."""

    value: str
    issued_at: float
    expires_at: float


class TokenSource(Protocol):
    """Where tokens come from; `provider` names it to callers."""

    provider: str

    async def fetch(self) -> Token:
        """A fresh token. Raises `Refused` (502, 503) and `ProviderDown`."""


class AccessTokens(Protocol):
    """Tokens that are shared by all who ask; `provider` names their source to callers."""

    provider: str

    async def get(self) -> Token:
        """A token that is good for a while. Raises `Refused` (502, 503) and `ProviderDown`."""

    async def close(self) -> None:
        """End a request under way."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What an organisation's account at the voice provider gives, beside the catalogue: tokens, and all it holds."""

    tokens: AccessTokens
    source: Source


# -- the model that drafts tools ---------------------------------------------------------------------------------

Message: TypeAlias = Mapping[str, str]


class DraftingModel(Protocol):
    """A model that is asked to answer in JSON."""

    name: str

    async def complete(self, messages: Sequence[Message]) -> str:
        """Its answer, which may be anything. Raises `ProviderDown`."""

"""The terms of active sets: scopes, what is pinned, and what is switched on in a scope."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from common.clients.resources import entries
from common.events.resource_replies import SetPins
from common.events.resource_terms import Kind, Layer, Pin, Pins, SetScope
from common.failures import Refused

Origin = Literal["switch", "tool", "rollback", "rollout"]

# As the gateway has it: an id the caller chose.
MAX_ID_CHARS = 200


class ScopeKey(NamedTuple):
    """A scope by its two coordinates: both empty is the organisation's, without a user it is the project's."""

    project_id: str
    user_id: str

    @property
    def layer(self) -> Layer:
        if self.user_id:
            return "user"
        return "project" if self.project_id else "organization"

    @property
    def scope(self) -> SetScope:
        return SetScope(layer=self.layer, project_id=self.project_id, user_id=self.user_id)

    @property
    def name(self) -> str:
        """What the audit trail calls it."""
        return ":".join(("active", *filter(None, self)))


class Pinned(NamedTuple):
    """One thing in a set. `version` None follows the latest."""

    kind: Kind
    id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class State:
    """What is switched on in a scope. `revision` None: nothing."""

    key: ScopeKey
    revision: int | None
    candidate: int | None
    percent: float
    switched_at: datetime
    current_pins: Pins | None
    candidate_pins: Pins | None


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a scope: its set, and who made it how and when."""

    revision: int
    pins: Pins
    note: str
    origin: Origin
    restored: int | None
    key_id: str
    user_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Activation:
    """What was live in a scope from `at` on."""

    revision: int | None
    candidate: int | None
    percent: float
    at: datetime


def key_of(scope: SetScope, user_id: str) -> ScopeKey:
    """The coordinates of a scope, of this user where it names none; raises `Refused` (400) for one that cannot be."""
    if scope.layer == "organization":
        return ScopeKey("", "")
    project_id = _checked(scope.project_id, "projectId")
    if scope.layer == "project":
        return ScopeKey(project_id, "")
    return ScopeKey(project_id, _checked(scope.user_id or user_id, "x-user-id"))


def first_scope(project_id: str, user_id: str) -> SetScope:
    """Where the search for the set of a user in a project begins."""
    if not project_id:
        return SetScope(layer="organization")
    return SetScope(layer="user" if user_id else "project", project_id=project_id, user_id=user_id)


def _checked(id: str, param: str) -> str:
    if not 0 < len(id) <= MAX_ID_CHARS or not id.isprintable():
        raise Refused(400, f"'{param}' must be 1 to {MAX_ID_CHARS} printable characters.", "invalid_value", param)
    return id


def layers(project_id: str, user_id: str) -> list[ScopeKey]:
    """The scopes that apply to a user in a project, the first that has a set wins."""
    return [ScopeKey(*key) for key in entries.layers(project_id, user_id)]


def pinned(pins: Pins) -> list[Pinned]:
    """Everything in a set."""
    single: list[tuple[Kind, Pin | None]] = [("config", pins.config), ("prompt", pins.prompt), ("voice", pins.voice)]
    found = [Pinned(kind, pin.id, pin.version) for kind, pin in single if pin is not None]
    return found + [Pinned("tool", tool.id, tool.version) for tool in pins.tools]


def shown_pins(pins: Pins) -> SetPins:
    """Pins as replies have them, nothing left out."""
    return SetPins.model_validate(pins.model_dump())


def milliseconds(moment: datetime) -> int:
    """Unix milliseconds."""
    return round(moment.timestamp() * 1000)

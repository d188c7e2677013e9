"""What the Hume stand-in remembers, one account per API key."""

import asyncio
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from sandbox.hume.errors import refusal
from sandbox.hume.faults import Plan

Kind = Literal["prompt", "tool", "config"]
TOKEN_SECONDS = 1800
# The library every account sees; ids are fixed so that two stand-ins agree.
LIBRARY = tuple(
    {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "name": name, "provider": "HUME_AI", "tags": tags}
    for name, tags in (
        ("Ava Song", {"GENDER": "FEMALE", "LANGUAGE": "English"}),
        ("Campfire Narrator", {"GENDER": "MALE", "LANGUAGE": "English"}),
        ("Quiet Harbour", {"GENDER": "FEMALE", "LANGUAGE": "English"}),
        ("Night Tram Driver", {"GENDER": "MALE", "LANGUAGE": "German"}),
        ("Colton Rivers", {"LANGUAGE": "English"}),
        ("Male English Actor", {"LANGUAGE": "English"}),
        ("Vince Douglas", {"LANGUAGE": "English"}),
        ("Dacher", {"LANGUAGE": "English"}),
        ("Ito", {"LANGUAGE": "English"}),
        ("Kora", {"LANGUAGE": "English"}),
        ("Stella", {"LANGUAGE": "English"}),
        ("Whimsy", {"LANGUAGE": "English"}),
        ("Terrence Bentley", {"LANGUAGE": "English"}),
    )
)


def now_ms() -> int:
    """Unix milliseconds."""
    return int(time.time() * 1000)


@dataclass(slots=True)
class Version:
    """One version: `content` is what its kind adds."""

    number: int
    content: dict[str, Any]
    description: str
    modified_on: int


@dataclass(slots=True)
class Thing:
    """A prompt, tool or config with its versions, oldest first."""

    kind: Kind
    id: str
    name: str
    created_on: int
    next_number: int = 0
    versions: list[Version] = field(default_factory=list)

    def add(self, content: dict[str, Any], description: str) -> Version:
        """Append a version; a number is never given twice."""
        version = Version(self.next_number, content, description, now_ms())
        self.next_number += 1
        self.versions.append(version)
        return version

    def version(self, number: int | None) -> Version:
        """The version with this number, None for the latest; raise HumeError 404."""
        wanted = [each for each in self.versions if number in (None, each.number)]
        if not wanted:
            raise refusal(404, f"{self.kind} '{self.id}' has no version {number}")
        return wanted[-1]


@dataclass(slots=True)
class Account:
    """Everything one API key owns, and which of its requests fail."""

    things: dict[Kind, dict[str, Thing]] = field(default_factory=lambda: {"prompt": {}, "tool": {}, "config": {}})
    voices: dict[str, dict[str, Any]] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    # Whether two resources of a kind may share a name; the provider does not document it.
    duplicates: bool = False
    token_seconds: int = TOKEN_SECONDS
    requests: int = 0
    tokens: int = 0
    generations: int = 0
    latest: int = 0
    # What the provider would put on its bill, by what it is: requests, seconds of audio, images, jobs.
    charges: Counter[str] = field(default_factory=Counter)
    runs: list[dict[str, Any]] = field(default_factory=list)
    # When a job of measurement ends by itself and calls back; None: it moves on as it is looked at.
    batch_seconds: float | None = None
    # Tasks that call back, kept from being collected.
    callbacks: set[asyncio.Task[None]] = field(default_factory=set)
    batch_jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def thing(self, kind: Kind, id: str) -> Thing:
        """The resource; raise HumeError 404."""
        try:
            return self.things[kind][id]
        except KeyError:
            raise refusal(404, f"{kind} '{id}' not found") from None

    def create(self, kind: Kind, name: str) -> Thing:
        """A new resource without versions; raise HumeError 409 for a name that is taken."""
        self.check_name(kind, name)
        # No two at the same moment: it gives their order.
        self.latest = max(self.latest + 1, now_ms())
        thing = Thing(kind, str(uuid.uuid4()), name, self.latest)
        self.things[kind][thing.id] = thing
        return thing

    def check_name(self, kind: Kind, name: str, but: str = "") -> None:
        """Raise HumeError 409 when another resource than `but` has this name."""
        taken = any(each.name == name and each.id != but for each in self.things[kind].values())
        if taken and not self.duplicates:
            raise refusal(409, f"a {kind} named '{name}' already exists")

    def summary(self) -> dict[str, Any]:
        """Totals for a test to look at."""
        kinds: Mapping[Kind, Iterable[Thing]] = {kind: each.values() for kind, each in self.things.items()}
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "voices": len(self.voices),
            "charges": dict(self.charges),
            **{f"{kind}s": len(self.things[kind]) for kind in kinds},
            **{f"{kind}_versions": sum(len(each.versions) for each in things) for kind, things in kinds.items()},
        }


class Accounts:
    """The accounts by API key, and the access tokens given out."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._by_key: dict[str, Account] = {}
        self._tokens: dict[str, tuple[str, float]] = {}

    def of(self, key: str) -> Account:
        """The account of an API key, made when it is first seen."""
        return self._by_key.setdefault(key, Account())

    def drop(self, key: str) -> None:
        """Forget one account."""
        self._by_key.pop(key, None)

    def grant(self, key: str, seconds: int) -> str:
        """A fresh access token for an account, good for `seconds`."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = (key, time.monotonic() + seconds)
        self.of(key).tokens += 1
        return token

    def key_of(self, token: str) -> str | None:
        """The API key behind an access token that is still good."""
        key, until = self._tokens.get(token, ("", 0.0))
        return key if time.monotonic() < until else None


ACCOUNTS = web.AppKey("hume_accounts", Accounts)

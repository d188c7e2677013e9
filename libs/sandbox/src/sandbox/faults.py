"""Faults on request: the directives that make a stand-in misbehave, and their grammar.

A model name is `<base>+<directive>+<directive>…`; the header `x-sandbox-fault` holds the same directives
separated by `;`, and both may be used at once. A directive is a name, or a name and a value: `no-done`,
`reset-after-3`. In the header `reset_after=3` means the same as `reset-after-3`.

How the answer is paced (these never fail a request):

    headers-<ms>           wait before the response headers
    first-<ms>             wait between the headers and the first chunk
    delay-<ms>             wait before each further chunk
    chunks-<n>             exactly n chunks (the text is regrouped, or lengthened)
    split-bytes            multi-byte characters are cut across TCP segments
    keepalive[-<ms>]       an SSE comment before each chunk, and every <ms> during a wait

What the model says besides its text:

    reasoning-<n>          n deltas of reasoning before it
    aloud                  a sentence before it calls a tool
    refusal                the text is a refusal of the model's own

How it fails before the answer:

    status-<code>[-ra-<s>] that status, with Retry-After when given
    retry-after-<s>        Retry-After on the failure (status 429 unless `status` says otherwise)
    retry-after-ms-<ms>    retry-after-ms, likewise
    should-retry-<bool>    x-should-retry, likewise
    quota                  429 insufficient_quota with x-should-retry: false
    html-<code>            an HTML error page, as a proxy in between would send
    context-length         400 context_length_exceeded
    content-filter         400 content_filter
    reset                  TCP reset before any byte
    silence                no byte, ever
    silence-after-headers  headers, then no byte

How it fails during the answer, after n chunks:

    reset-after-<n>        TCP reset
    drop-after-<n>         connection closed inside the chunked body
    stall-after-<n>        nothing more until the caller leaves
    cut-after-<n>          clean end of the body without finish_reason and [DONE]
    error-after-<n>        an in-band error event, then the end
    malformed-after-<n>    one `data:` line that is not JSON, then the rest
    content-filter-finish  the text ends half way with finish_reason content_filter
    no-done                everything but [DONE]

When it fails:

    flaky-<n>              the first n requests fail with the other directives (503 if there are none), then
                           all succeed; counted by model name and the header x-sandbox-scenario
    outage-<name>-<s>      the first request starts an outage of s seconds; during it everything fails in that
                           way, and nothing after it

A chunk is a delta that carries text, reasoning or a piece of a tool call; role, finish and usage chunks do not count.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from aiohttp import web

BASE_SEPARATOR = "+"
_BOOLEANS = {"true", "false"}
_OUTAGE = re.compile(r"outage[-=](?P<name>[\w.-]+)-(?P<seconds>\d+(?:\.\d+)?)")
_STATUS_WITH_RETRY = re.compile(r"status[-=](?P<code>\d{3})-ra-(?P<seconds>\d+)")
_DIRECTIVE = re.compile(r"(?P<name>[a-z]+(?:-[a-z]+)*?)(?:[-=](?P<value>\d+(?:\.\d+)?|true|false))?")


class UnknownDirective(ValueError):
    """A directive is not in the grammar; the message names it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How an answer is paced; waits are milliseconds."""

    headers: float = 0
    first: float = 0
    delay: float = 0
    chunks: int | None = None
    split_bytes: bool = False
    keepalive: float | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """What the model says besides its text."""

    reasoning: int = 0
    aloud: bool = False
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What goes wrong; every `*_after` counts chunks."""

    status: int | None = None
    retry_after: int | None = None
    retry_after_ms: int | None = None
    should_retry: bool | None = None
    quota: bool = False
    html: int | None = None
    context_length: bool = False
    content_filter: bool = False
    reset: bool = False
    silence: bool = False
    silence_after_headers: bool = False
    reset_after: int | None = None
    drop_after: int | None = None
    stall_after: int | None = None
    cut_after: int | None = None
    error_after: int | None = None
    malformed_after: int | None = None
    content_filter_finish: bool = False
    no_done: bool = False

    def trips(self, total: int) -> dict[int, list[str]]:
        """Map a chunk position to the failures due there; positions past `total` happen at `total`."""
        due: dict[int, list[str]] = {}
        for kind in TRIP_ORDER:
            after = getattr(self, f"{kind}_after")
            if after is not None:
                due.setdefault(min(after, total), []).append(kind)
        return due


# Where several are due at one position, those the answer survives come first.
TRIP_ORDER = ("malformed", "error", "stall", "cut", "drop", "reset")
NO_FAILURE = Failure()
UNAVAILABLE = Failure(status=503)


@dataclass(frozen=True, slots=True)
class Faults:
    """All directives of one request."""

    pace: Pace = field(default_factory=Pace)
    speech: Speech = field(default_factory=Speech)
    failure: Failure = NO_FAILURE
    flaky: int | None = None
    outage: tuple[str, float] | None = None


NONE = Faults()


def split_model(model: str) -> tuple[str, tuple[str, ...]]:
    """Return the base name of a model and its directives."""
    base, *directives = model.split(BASE_SEPARATOR)
    return base, tuple(directives)


@lru_cache(maxsize=1_024)
def parse(directives: tuple[str, ...], header: str = "") -> Faults:
    """Read the directives of a model name and of the header `x-sandbox-fault`; raise UnknownDirective."""
    words = [*directives, *re.split(r"[;+]", header)]
    values: dict[str, Any] = {}
    for word in words:
        values.update(_read(word.strip().lower()))
    if not values:
        return NONE
    return Faults(
        pace=replace(Pace(), **_pick(values, Pace)),
        speech=replace(Speech(), **_pick(values, Speech)),
        failure=_with_default_status(replace(NO_FAILURE, **_pick(values, Failure))),
        flaky=values.get("flaky"),
        outage=values.get("outage"),
    )


def _with_default_status(failure: Failure) -> Failure:
    hinted = (failure.retry_after, failure.retry_after_ms, failure.should_retry) != (None, None, None)
    return replace(failure, status=429) if hinted and failure.status is None else failure


def _pick(values: dict[str, Any], shape: type[Pace] | type[Speech] | type[Failure]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in shape.__dataclass_fields__}


def _read(word: str) -> Iterator[tuple[str, object]]:
    if not word:
        return
    if match := _OUTAGE.fullmatch(word):
        yield "outage", (match["name"], float(match["seconds"]))
    elif match := _STATUS_WITH_RETRY.fullmatch(word):
        yield "status", int(match["code"])
        yield "retry_after", int(match["seconds"])
    elif match := _DIRECTIVE.fullmatch(word.replace("_", "-")):
        yield _typed(match["name"].replace("-", "_"), match["value"], word)
    else:
        raise UnknownDirective(word)


def _typed(name: str, value: str | None, word: str) -> tuple[str, object]:
    if name in _MILLISECONDS and (value is not None or name == "keepalive"):
        return name, _number(value or "0", word)
    if name in _STATUSES and value is not None and 400 <= _number(value, word) <= 599:
        return name, int(value)
    if name in _COUNTS and value is not None:
        return name, int(_number(value, word))
    if name == "should_retry" and value in _BOOLEANS:
        return name, value == "true"
    if name in _SWITCHES and value is None:
        return name, True
    raise UnknownDirective(word)


def _number(value: str, word: str) -> float:
    if value in _BOOLEANS:
        raise UnknownDirective(word)
    return float(value)


_MILLISECONDS = {"headers", "first", "delay", "keepalive"}
_STATUSES = {"status", "html"}
_SWITCHES = {
    "split_bytes",
    "quota",
    "context_length",
    "content_filter",
    "content_filter_finish",
    "reset",
    "silence",
    "silence_after_headers",
    "no_done",
    "aloud",
    "refusal",
}
_COUNTS = {
    "chunks",
    "reasoning",
    "retry_after",
    "retry_after_ms",
    "flaky",
    *(f"{kind}_after" for kind in TRIP_ORDER),
}


class Gates:
    """The memory behind `flaky` and `outage`: decides whether a request fails now."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}
        self._outages: dict[str, float] = {}

    def decide(self, faults: Faults, model: str, scenario: str) -> Failure:
        """Return the failure this request is to meet, counting it."""
        if faults.outage is None and faults.flaky is None:
            return faults.failure
        if not (self._is_out(faults.outage) or self._is_early(faults.flaky, (model, scenario))):
            return NO_FAILURE
        return UNAVAILABLE if faults.failure == NO_FAILURE else faults.failure

    def reset(self) -> None:
        """Forget every count and outage."""
        self._seen.clear()
        self._outages.clear()

    def _is_out(self, outage: tuple[str, float] | None) -> bool:
        if outage is None:
            return False
        name, seconds = outage
        now = time.monotonic()
        return now < self._outages.setdefault(name, now + seconds)

    def _is_early(self, flaky: int | None, counted_by: tuple[str, str]) -> bool:
        if flaky is None:
            return False
        seen = self._seen.get(counted_by, 0)
        self._seen[counted_by] = seen + 1
        return seen < flaky


GATES = web.AppKey("gates", Gates)

"""Misbehaviour of the Hume stand-in: single faults by header or in advance, and a mood with a seed.

A fault is a word; several are joined by `;`, and then all apply:

    delay-<ms>             wait before anything else
    status-<code>[-ra-<s>] that status with a JSON error, with Retry-After when given
    empty-<code>           that status without a body (the client library takes it for success here and there)
    html-<code>            that status with an HTML page, as a proxy in between would send; 200 is one of them
    null                   200 with the JSON document null
    silence                no byte, ever
    reset                  TCP reset before any byte
    slow-<ms>              the request is served, its answer comes a tenth at a time, with a wait before each
    truncated              the request is served, its answer is cut half way
    lost                   the request is served, then TCP reset: the caller never hears of it
    lost-silence           the request is served, then no byte, ever
    error-line             of streamed speech half is sent, then an error inside the 200
    no-last                of streamed speech all but the last chunk is sent, and the end is a clean one
    zero-credits           of speech: 400, no credits are left

A mood picks one of `MOODS` for a share of the requests, the same ones for the same seed and order of requests.
"""

import random
import re
from collections import deque
from dataclasses import dataclass, field

_WORD = re.compile(r"(?P<name>[a-z]+(?:-[a-z]+)*?)(?:-(?P<value>\d+)(?:-ra-(?P<after>\d+))?)?")
_NUMBERED = {"delay", "status", "empty", "html", "slow"}
_PLAIN = {"null", "silence", "reset", "truncated", "lost", "lost-silence", "error-line", "no-last", "zero-credits"}
# What a mood does: nothing in it takes time, so that a flaky run stays a quick one.
MOODS = ("status-503", "status-429", "status-500", "html-502", "html-200", "empty-500", "reset", "truncated", "lost")


class UnknownFault(ValueError):
    """A word is not in the grammar; the message names it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One word: `value` is the status or the milliseconds, `after` the Retry-After in seconds."""

    name: str
    value: int = 0
    after: int | None = None


def parse(text: str) -> list[Fault]:
    """Read faults joined by `;`; raise UnknownFault."""
    return [_read(word.strip().lower()) for word in text.split(";") if word.strip()]


def _read(word: str) -> Fault:
    match = _WORD.fullmatch(word)
    if match is None:
        raise UnknownFault(word)
    name, value, after = match["name"], match["value"], match["after"]
    if (name in _NUMBERED) is not (value is not None) or (name not in _NUMBERED and name not in _PLAIN):
        raise UnknownFault(word)
    if after is not None and name != "status":
        raise UnknownFault(word)
    return Fault(name, int(value or 0), None if after is None else int(after))


@dataclass(slots=True)
class Planned:
    """A fault for later requests: the next `times` that match (None: all), by method and beginning of the path."""

    faults: list[Fault]
    times: int | None = 1
    method: str = ""
    path: str = ""

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is meant."""
        return self.method in ("", method) and path.startswith(self.path)


@dataclass(slots=True)
class Plan:
    """What one account's requests will meet."""

    planned: deque[Planned] = field(default_factory=deque)
    share: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    def next(self, method: str, path: str) -> list[Fault]:
        """The faults of this request, counting it."""
        for planned in self.planned:
            if planned.matches(method, path):
                self._count(planned)
                return planned.faults
        if self.share and self.dice.random() < self.share:
            return parse(self.dice.choice(MOODS))
        return []

    def _count(self, planned: Planned) -> None:
        if planned.times is None:
            return
        planned.times -= 1
        if planned.times <= 0:
            self.planned.remove(planned)

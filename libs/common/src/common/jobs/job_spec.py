"""One declaration per kind of job: what it takes and gives, its steps, and how much of it there may be."""

import builtins
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from common.events.backoff import Backoff

if TYPE_CHECKING:
    from common.jobs.work import Work

I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the input, as P is a payload elsewhere
R = TypeVar("R", bound=BaseModel)
D = TypeVar("D")

DAY_SECONDS = 86_400.0
# A provider that is away is tried again for some ten minutes.
RETRIES = Backoff(attempts=12, first=0.5, ceiling=60.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class JobSpec(Generic[I, R]):
    """The declaration of one kind.

    `steps` are named in their order. `concurrency` jobs are at work in a process. In all `queue` may wait, and of one
    organisation `share`. A job is given up `deadline_seconds` after it was accepted, or after it was begun anew.
    `retry` says when one is tried again that failed for a passing reason. It is kept for `keep_seconds` after its end.
    """

    kind: str
    input: builtins.type[I]
    result: builtins.type[R]
    steps: tuple[str, ...]
    summary: str
    concurrency: int = 4
    queue: int = 10_000
    share: int = 1_000
    deadline_seconds: float = 3600.0
    retry: Backoff = RETRIES
    keep_seconds: float = 7 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Kind(Generic[D]):
    """One line of a service's table of kinds; made by `kind`, which checks that both fit."""

    spec: JobSpec[Any, Any]
    act: "Callable[[Work[Any, D]], Awaitable[BaseModel]]"


Kinds: TypeAlias = Sequence[Kind[D]]


def kind(spec: JobSpec[I, R], act: "Callable[[Work[I, D]], Awaitable[R]]") -> Kind[D]:
    """Jobs of this kind are done by `act`."""
    return Kind(spec, act)

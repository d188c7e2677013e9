"""The typed table of a service: which function takes which event, checked when the table is written."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.spec import EventSpec, P, R, RequestSpec

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Handler(Generic[D]):
    """One line of the table; made by `on` or `answer`. `name` is the function's, for dead letters.

    `full` tells the one who waits that no place came free; a command or query without it is refused by the kernel.
    """

    spec: EventSpec[Any]
    act: Callable[[Event[Any], D], Awaitable[Reply[Any] | None]]
    name: str
    full: Callable[[Event[Any], D], Awaitable[None]] | None = None


Handlers: TypeAlias = Sequence[Handler[D]]


def on(
    spec: EventSpec[P],
    act: Callable[[Event[P], D], Awaitable[None]],
    *,
    full: Callable[[Event[P], D], Awaitable[None]] | None = None,
) -> Handler[D]:
    """Take an event that is not answered with a reply; `full` as in `Handler`."""
    return Handler(spec, act, name_of(act), full)


def answer(spec: RequestSpec[P, R], act: Callable[[Event[P], D], Awaitable[Reply[R]]]) -> Handler[D]:
    """Answer a command or query; what it refuses, it raises as `Refused`."""
    return Handler(spec, act, name_of(act))


def name_of(act: Callable[..., Any]) -> str:
    """Where a function stands, as a dead letter names it."""
    return f"{act.__module__}.{act.__qualname__}"

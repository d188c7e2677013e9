"""Where the running code is: in which session and step. Tasks follow by themselves, and threads by `propagate`."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

if TYPE_CHECKING:
    from huggingplace.session_log import SessionState
    from huggingplace.step import Step

F = TypeVar("F", bound=Callable[..., Any])

step: ContextVar[Step | None] = ContextVar("huggingplace_step", default=None)
session: ContextVar[SessionState | None] = ContextVar("huggingplace_session", default=None)


@contextmanager
def within(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """The value holds inside the block, also where that is left in another context than it was entered in."""
    before = variable.get()
    token = variable.set(value)
    try:
        yield
    finally:
        leave(variable, token, before)


def leave(variable: ContextVar[Any], token: contextvars.Token[Any], before: Any) -> None:
    """Take a value back. A generator may be closed in another context than it began in: there the token is void."""
    try:
        variable.reset(token)
    except ValueError:
        variable.set(before)


def propagate(function: F) -> F:
    """The function, which remembers the session and the step of the code that called `propagate`.

    For threads, which begin without them: `pool.submit(propagate(work), 1)`. It may be called any number of times,
    also at the same time.
    """
    step_here, session_here = step.get(), session.get()

    @functools.wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with within(step, step_here), within(session, session_here):
            return function(*args, **kwargs)

    return cast("F", inside)

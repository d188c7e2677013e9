"""What follows a request through log lines and events: its trace, as W3C trace context writes it, and its id.

Nothing here records spans; `common.kernel.tracing` does, and an OpenTelemetry agent before or behind us.
"""

import re
import secrets
from contextvars import ContextVar

# `00-<trace id>-<span id>-<flags>`; ids of zeros only are invalid by the standard.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_SAMPLED = "01"

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def current() -> str | None:
    """The `traceparent` of what is being worked on in this task, if any."""
    return _current.get()


def correlation_id() -> str | None:
    """The `x-request-id` of the HTTP request that led to what is being worked on, if one did."""
    return _correlation.get()


def enter(traceparent: str | None, correlation_id: str | None) -> None:
    """From now on this task, and those it starts, work on that trace, for the request of that id."""
    _current.set(traceparent)
    _correlation.set(correlation_id)


def valid(given: str | None) -> str | None:
    """A `traceparent` that somebody else has sent, where it is one."""
    return given if given is not None and _TRACEPARENT.fullmatch(given) else None


def continued(given: str | None) -> str:
    """A `traceparent` of our own in the caller's trace; in a new one where none, or nothing valid, was given."""
    found = _TRACEPARENT.fullmatch(given or "")
    trace, flags = found.groups() if found else (secrets.token_hex(16), _SAMPLED)
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"


def trace_id(traceparent: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return traceparent[3:35]

"""The trace an event belongs to, as W3C trace context writes it: it follows a request through log lines and events.

Nothing here records spans; whoever does (an OpenTelemetry agent before or behind us) finds its trace carried on.
"""

import re
import secrets
from contextvars import ContextVar

# `00-<trace id>-<span id>-<flags>`; ids of zeros only are invalid by the standard.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_SAMPLED = "01"

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current() -> str | None:
    """The `traceparent` of what is being worked on in this task, if any."""
    return _current.get()


def enter(traceparent: str | None) -> None:
    """From now on this task, and those it starts, work on that trace."""
    _current.set(traceparent)


def continued(given: str | None) -> str:
    """A `traceparent` of our own in the caller's trace; in a new one where none, or nothing valid, was given."""
    found = _TRACEPARENT.fullmatch(given or "")
    trace, flags = found.groups() if found else (secrets.token_hex(16), _SAMPLED)
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"


def trace_id(traceparent: str) -> str:
    """The 32 hexadecimal digits that name the trace."""
    return traceparent[3:35]

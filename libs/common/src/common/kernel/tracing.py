"""Spans: what a process worked on and for how long, for an OpenTelemetry collector.

Without an endpoint the exporter is not loaded, and every span is `UNRECORDED`. Whether a trace is recorded is
decided where it begins: see `common.kernel.otlp_export`.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from common.kernel.settings import CommonSettings

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value | None]
"""By their names in the semantic conventions of OpenTelemetry; those that are None are left out."""


class SpanKind(Enum):
    """Which side of a call a span is on, as OpenTelemetry names them."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"


class OpenSpan(Protocol):
    """A span that has begun. `traceparent` names it to what happens within; None where it is not of a trace."""

    @property
    def traceparent(self) -> str | None: ...

    @property
    def recorded(self) -> bool:
        """Whether anybody will see it; where not, nobody need find out what it could tell."""
        ...

    def set(self, attributes: Attributes) -> None: ...

    def end(self, failure: str | None = None) -> None:
        """It is over; `failure` says in a word what went wrong (`error.type`)."""
        ...


class Recorder(Protocol):
    """Makes spans and sends them."""

    def begin(self, name: str, kind: SpanKind, parent: str | None) -> OpenSpan: ...

    def record(
        self,
        name: str,
        kind: SpanKind,
        parent: str,
        times: tuple[float, float],
        *,
        attributes: Attributes,
        failure: str | None,
    ) -> None: ...

    def close(self) -> None: ...


class _Unrecorded:
    traceparent = None
    recorded = False

    def set(self, attributes: Attributes) -> None:
        del attributes

    def end(self, failure: str | None = None) -> None:
        del failure


UNRECORDED = _Unrecorded()
_recorder: Recorder | None = None
_current: ContextVar[OpenSpan] = ContextVar("span", default=UNRECORDED)


def configure(service: str, settings: "CommonSettings") -> None:
    """Send spans from now on where the settings name an endpoint."""
    global _recorder
    if settings.otlp_endpoint:
        # It takes a moment to load, and 20 MB.
        from common.kernel.otlp_export import OtlpRecorder

        _recorder = OtlpRecorder(service, settings)


def close() -> None:
    """Send what is left, for a few seconds at most."""
    global _recorder
    if _recorder is not None:
        _recorder.close()
        _recorder = None


def begin(name: str, kind: SpanKind, parent: str | None) -> OpenSpan:
    """Begin a span of what this task works on, within the span that `parent`, a `traceparent`, names."""
    if _recorder is None:
        return UNRECORDED
    span = _recorder.begin(name, kind, parent)
    _current.set(span)
    return span


def current() -> OpenSpan:
    """The span that was begun last in this task, or in the one that started it."""
    return _current.get()


def record(
    name: str,
    kind: SpanKind,
    started_at: float,
    ended_at: float,
    attributes: Attributes,
    failure: str | None = None,
) -> None:
    """Tell of something that is over already, within the current span; times are unix seconds."""
    parent = current()
    if _recorder is not None and parent.traceparent is not None and parent.recorded:
        _recorder.record(name, kind, parent.traceparent, (started_at, ended_at), attributes=attributes, failure=failure)

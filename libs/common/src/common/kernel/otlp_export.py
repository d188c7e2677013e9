"""Spans by OTLP over HTTP: batches leave in a thread of their own, and a collector that is away costs only them.

Sampling is that of the parent, which every event and every call carries; where a trace begins here, a part of them is
recorded. Names are those of OpenTelemetry's semantic conventions 1.44.0.
"""

import logging
import threading
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.re import parse_env_headers

from common.events import trace
from common.kernel import tracing
from common.kernel.settings import CommonSettings

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
PATH = "/v1/traces"
EXPORT_SECONDS = 5.0
CLOSE_SECONDS = 2.0


class OtlpRecorder:
    """The `tracing.Recorder` of a process."""

    def __init__(self, service: str, settings: CommonSettings) -> None:
        resource = Resource.create({"service.name": f"sonant-{service}", "service.instance.id": settings.instance})
        sampler = ParentBased(TraceIdRatioBased(settings.trace_ratio))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(
            endpoint=f"{settings.otlp_endpoint.rstrip('/')}{PATH}",
            headers=parse_env_headers(settings.otlp_headers.get_secret_value(), liberal=True),
            timeout=EXPORT_SECONDS,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sonant", schema_url=SCHEMA_URL)
        # It would say so of every span that finds the queue full.
        logging.getLogger("opentelemetry.sdk").setLevel(logging.ERROR)

    def begin(self, name: str, kind: tracing.SpanKind, parent: str | None) -> "_OtlpSpan":
        """A span within another one; the first of a new trace where there is no valid parent."""
        return _OtlpSpan(self._tracer.start_span(name, _context(trace.valid(parent)), SpanKind[kind.name]))

    def record(
        self,
        name: str,
        kind: tracing.SpanKind,
        parent: str,
        times: tuple[float, float],
        *,
        attributes: tracing.Attributes,
        failure: str | None,
    ) -> None:
        """A span that is over."""
        started, ended = (int(time * 1e9) for time in times)
        span = self._tracer.start_span(
            name, _context(parent), SpanKind[kind.name], _given(attributes), start_time=started
        )
        _fail(span, failure)
        span.end(ended)

    def close(self) -> None:
        """Send what is left, within the time that a stop has for closing."""
        # It knows no bound itself, and waits for a collector that does not answer.
        closing = threading.Thread(target=self._provider.shutdown, name="send-spans", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _OtlpSpan:
    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
        self.traceparent: str | None = f"00-{ids}-{int(context.trace_flags):02x}"

    @property
    def recorded(self) -> bool:
        return self._span.is_recording()

    def set(self, attributes: tracing.Attributes) -> None:
        self._span.set_attributes(_given(attributes))

    def end(self, failure: str | None = None) -> None:
        _fail(self._span, failure)
        self._span.end()


def _given(attributes: tracing.Attributes) -> Mapping[str, tracing.Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _fail(span: Span, failure: str | None) -> None:
    if failure is not None:
        span.set_attribute("error.type", failure)
        span.set_status(Status(StatusCode.ERROR))


def _context(traceparent: str | None) -> Context:
    """With the span that a `traceparent` names as the parent; empty, never what the thread has, where there is none."""
    if traceparent is None:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(parent), Context())

"""Spans as OpenTelemetry exports them over HTTP, read from protobuf or JSON into one form (OTLP 1.7)."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# Values within values; what is deeper is told as a mark.
MAX_DEPTH = 16
TOO_DEEP = "…"
NANOSECONDS = 1e9
ERROR = 2


class UnreadableSpansError(Exception):
    """A body is no export of spans."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are lower-case hex, moments unix seconds; `error` is None where it did not fail."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started_at: float
    ended_at: float
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    error: str | None
    events: Sequence[tuple[str, Mapping[str, Any]]] = field(default=())


def from_protobuf(body: bytes) -> Iterator[Span]:
    """The spans in a body. Raises UnreadableSpansError."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise UnreadableSpansError("The body is no ExportTraceServiceRequest.") from None
    for group in request.resource_spans:
        resource = _pairs(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex() or None,
                    span.name,
                    span.start_time_unix_nano / NANOSECONDS,
                    span.end_time_unix_nano / NANOSECONDS,
                    _pairs(span.attributes),
                    resource,
                    scoped.scope.name,
                    span.status.message if span.status.code == ERROR else None,
                    [(event.name, _pairs(event.attributes)) for event in span.events],
                )


def _pairs(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value, 1) for pair in pairs}


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind in ("array_value", "kvlist_value"):
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if kind == "array_value":
            return [_value(each, depth + 1) for each in found.values]
        return {pair.key: _value(pair.value, depth + 1) for pair in found.values}
    return base64.b64encode(found).decode() if kind == "bytes_value" else found


def from_json(body: Mapping[str, Any]) -> Iterator[Span]:
    """The spans in a body, whose ids are hex in JSON. Raises UnreadableSpansError."""
    try:
        for group in body.get("resourceSpans") or ():
            resource = _json_pairs((group.get("resource") or {}).get("attributes"))
            for scoped in group.get("scopeSpans") or ():
                scope = str((scoped.get("scope") or {}).get("name", ""))
                for span in scoped.get("spans") or ():
                    yield _json_span(span, resource, scope)
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError):
        raise UnreadableSpansError("The body is no ExportTraceServiceRequest.") from None


def _json_span(span: Mapping[str, Any], resource: Mapping[str, Any], scope: str) -> Span:
    status = span.get("status") or {}
    failed = status.get("code") in (ERROR, "STATUS_CODE_ERROR")
    return Span(
        str(span.get("traceId", "")).lower(),
        str(span.get("spanId", "")).lower(),
        str(span.get("parentSpanId") or "").lower() or None,
        str(span.get("name", "")),
        int(span.get("startTimeUnixNano", 0)) / NANOSECONDS,
        int(span.get("endTimeUnixNano", 0)) / NANOSECONDS,
        _json_pairs(span.get("attributes")),
        resource,
        scope,
        str(status.get("message", "")) if failed else None,
        [(str(event.get("name", "")), _json_pairs(event.get("attributes"))) for event in span.get("events") or ()],
    )


def _json_pairs(pairs: Any) -> dict[str, Any]:
    return {str(pair["key"]): _json_value(pair.get("value") or {}, 1) for pair in pairs or ()}


def _json_value(value: Mapping[str, Any], depth: int) -> Any:
    """A value of the mapping of protobuf to JSON, where 64-bit integers are texts."""
    if depth > MAX_DEPTH:
        return TOO_DEEP
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_json_value(each, depth + 1) for each in value["arrayValue"].get("values") or ()]
    if "kvlistValue" in value:
        pairs = value["kvlistValue"].get("values") or ()
        return {str(pair["key"]): _json_value(pair.get("value") or {}, depth + 1) for pair in pairs}
    for kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if kind in value:
            return value[kind]
    return None


def is_hex(text: str, bytes: int) -> bool:
    """Whether a text is so many bytes in hex, and not all of them zero."""
    try:
        read = binascii.unhexlify(text)
    except (ValueError, binascii.Error):
        return False
    return len(read) == bytes and any(read)

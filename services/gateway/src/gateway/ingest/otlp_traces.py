"""`POST /v1/traces`: spans of any app that is instrumented with OpenTelemetry or OpenInference."""

import asyncio
import time
from typing import Any

import orjson
from aiohttp import hdrs, web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from common.events.interaction_items import MAX_BATCH_BYTES, MAX_ITEMS
from common.failures import Refused
from gateway.deps import DEPS
from gateway.http import errors
from gateway.http.body import WITH_ZSTD, read_body
from gateway.http.context import CALLER
from gateway.http.json_bounds import parse_json
from gateway.http.large_bodies import LARGE_BYTES
from gateway.ingest.interaction_views import accept
from gateway.ingest.item_check import sort_out
from gateway.ingest.item_results import Sorted
from gateway.ingest.otlp_spans import Span, UnreadableSpansError, from_json, from_protobuf
from gateway.ingest.span_mapping import INTERACTION, item_of, kind_of
from gateway.metrics import INGEST_SPANS

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_SPANS = 10_000
# Values may nest as deep in JSON, with the wrappers of the protocol around each.
MAX_DEPTH = 96


async def export_traces(request: web.Request) -> web.Response:
    """Take spans in; what of them cannot be taken is said in `partial_success`, as the protocol wants it."""
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF, JSON):
        raise Refused(415, f"Spans come as {PROTOBUF} or {JSON}.", "unsupported_media_type")
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    deps.acceptance.check(org_id)
    place = deps.large_bodies.place(org_id)
    try:
        body = await read_body(request, MAX_BATCH_BYTES, place, encodings=WITH_ZSTD)
        try:
            if len(body) < LARGE_BYTES:
                batches, lost = _sorted_out(body, kind, org_id)
            else:
                # Many small spans are a second's work.
                batches, lost = await asyncio.to_thread(_sorted_out, body, kind, org_id)
        except UnreadableSpansError as error:
            raise errors.bad_request(str(error), code="invalid_body") from None
        del body
        # One batch after the other: where one is not accepted, all of them come again, with the same ids.
        for batch in batches:
            await accept(request, batch)
    finally:
        place.leave()
    return _answer(kind, lost)


def _sorted_out(body: bytes, kind: str, org_id: str) -> tuple[list[Sorted], list[str]]:
    """What is to be accepted, and why other spans are not. Raises UnreadableSpansError, and Refused."""
    spans = from_protobuf(body) if kind == PROTOBUF else from_json(parse_json(body, max_depth=MAX_DEPTH))
    items: list[dict[str, Any]] = []
    lost: list[str] = []
    for number, span in enumerate(spans):
        if number >= MAX_SPANS:
            raise errors.too_large(MAX_SPANS, f"counted in spans, of which {MAX_SPANS} are taken at once")
        _add(span, org_id, items, lost)
    batches = []
    for start in range(0, len(items), MAX_ITEMS):
        found = sort_out(items[start : start + MAX_ITEMS], org_id, time.time(), defaults={}, measured=True)
        found.origin = "otlp"
        lost += [result["error"]["message"] for result in found.results if "error" in result]
        batches.append(found)
    INGEST_SPANS.labels("rejected").inc(len(lost))
    return batches, lost


def _add(span: Span, org_id: str, items: list[dict[str, Any]], lost: list[str]) -> None:
    kind = kind_of(span)
    if kind is None:
        INGEST_SPANS.labels("ignored").inc()
        return
    item = item_of(span, kind, org_id)
    if item is None:
        lost.append("A span has no valid trace id or span id.")
        return
    INGEST_SPANS.labels("interaction" if kind == INTERACTION else "step").inc()
    items.append(item)


def _answer(kind: str, lost: list[str]) -> web.Response:
    answer = ExportTraceServiceResponse()
    if lost:
        answer.partial_success.rejected_spans = len(lost)
        answer.partial_success.error_message = lost[0]
    if kind == PROTOBUF:
        return web.Response(body=answer.SerializeToString(), content_type=PROTOBUF)
    told = {"partialSuccess": {"rejectedSpans": str(len(lost)), "errorMessage": lost[0]}} if lost else {}
    return web.Response(body=orjson.dumps(told), content_type=JSON)

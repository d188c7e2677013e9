"""A request is followed: one trace over the services at a collector, and its id in a log line of each of them."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.support.collector import Collector, Span, collecting
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

SERVER, CLIENT, CONSUMER = 2, 3, 5
SECONDS = 60.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Sonant]:
    """A system that sends its spans; no other test may use its log lines."""
    env = {"SONANT_OTLP_ENDPOINT": collector.url, "SONANT_OTLP_HEADERS": "authorization=Bearer%20of-the-collector"}
    with sonant_system(env=env, models={"default": "sandbox", "twice": ("sandbox+status-500", "sandbox")}) as system:
        yield system


def ask(system: Sonant, model: str, request_id: str, *, traceparent: str | None = None, key: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {key or system.key}", "x-request-id": request_id}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Say: secret-of-mine"}]}
    return httpx.post(f"{system.url}/v1/chat/completions", headers=headers, json=body, timeout=SECONDS)


def lines(system: Sonant, service: str, request_id: str, event_type: str | None = None) -> list[dict[str, Any]]:
    """The log lines of a service that name the request, about an event of that type where one is given."""
    found = [orjson.loads(line) for line in system.log(service).splitlines() if request_id in line]
    return [line for line in found if event_type is None or line.get("event_type") == event_type]


def one(spans: list[Span], service: str, event_type: str | None = None) -> Span:
    """The one span of a service about its request, or about an event of that type and version."""
    own = [span for span in spans if span.service == f"sonant-{service}" and span.kind in (SERVER, CONSUMER)]
    (found,) = [span for span in own if span.attributes.get("sonant.event.type") == event_type]
    return found


async def test_a_chat_is_one_trace_from_the_caller_to_the_upstream(traced: Sonant, collector: Collector) -> None:
    trace_id, parent = uuid.uuid4().hex, "00f067aa0ba902b7"
    answered = ask(traced, "twice", f"traced-{trace_id}", traceparent=f"00-{trace_id}-{parent}-01")
    assert answered.status_code == 200

    def whole() -> list[Span]:
        spans = collector.trace(trace_id)
        return (
            spans if {"sonant-gateway", "sonant-llm-stream", "sonant-telemetry"} <= {x.service for x in spans} else []
        )

    spans = await eventually(whole, timeout=SECONDS)
    request, turn = one(spans, "gateway"), one(spans, "llm-stream", "chat.reply.requested/1")
    assert (request.name, request.parent) == ("POST /v1/chat/completions", parent)
    assert request.attributes["http.response.status_code"] == 200
    assert (turn.name, turn.parent) == ("process chat-requests", request.span_id)
    assert turn.attributes["gen_ai.response.id"] == answered.headers["x-sonant-completion-id"]
    assert turn.attributes["gen_ai.usage.output_tokens"] > 0
    attempts = sorted((x for x in spans if x.kind == CLIENT), key=lambda span: span.nanoseconds)
    assert [(x.parent, x.failed, x.attributes["gen_ai.operation.name"]) for x in attempts] == [
        (turn.span_id, True, "chat"),
        (turn.span_id, False, "chat"),
    ]
    assert [x.attributes.get("error.type") for x in attempts] == ["500", None]
    assert all(x.nanoseconds[0] <= x.nanoseconds[1] for x in spans)
    assert (request.kind, turn.kind) == (SERVER, CONSUMER)
    assert one(spans, "telemetry", "chat.reply.completed/1").parent == turn.span_id
    assert collector.schemas == {"https://opentelemetry.io/schemas/1.44.0"}
    assert {headers["authorization"] for headers in collector.headers} == {"Bearer of-the-collector"}
    assert "secret-of-mine" not in str(spans)


async def test_a_tool_that_ran_is_a_span_of_its_turn(traced: Sonant, collector: Collector) -> None:
    trace_id = uuid.uuid4().hex
    headers = {**traced.headers, "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    question = {"role": "user", "content": 'Use the calculator for "6 * 7".'}
    body = {"model": "default", "tools": [{"type": "sonant", "name": "calculator"}], "messages": [question]}
    answered = httpx.post(f"{traced.url}/v1/chat/completions", headers=headers, json=body, timeout=SECONDS)
    assert answered.status_code == 200, answered.text
    spans = await eventually(
        lambda: [span for span in collector.trace(trace_id) if span.name == "execute_tool calculator"], timeout=SECONDS
    )
    (step,) = spans
    assert step.parent == one(collector.trace(trace_id), "llm-stream", "chat.reply.requested/1").span_id
    assert (step.attributes["sonant.tool.kind"], step.attributes["sonant.tool.outcome"]) == ("builtin", "done")


async def test_what_the_caller_does_not_sample_is_not_recorded(traced: Sonant, collector: Collector) -> None:
    quiet, loud = uuid.uuid4().hex, uuid.uuid4().hex
    for trace_id, flags in ((quiet, "00"), (loud, "01")):
        ask(traced, "default", f"traced-{trace_id}", traceparent=f"00-{trace_id}-00f067aa0ba902b7-{flags}")
    await eventually(lambda: len({span.service for span in collector.trace(loud)}) >= 3, timeout=SECONDS)
    assert collector.trace(quiet) == []
    # Its lines name the trace all the same.
    (line,) = lines(traced, "gateway", f"traced-{quiet}")
    assert line["trace_id"] == quiet


async def test_the_id_of_a_request_stands_in_a_line_of_every_service_that_it_touched(traced: Sonant) -> None:
    request_id = f"followed-{uuid.uuid4().hex}"
    answered = ask(traced, "default", request_id)
    touched = {"gateway": None, "llm-stream": "chat.reply.requested", "telemetry": "chat.reply.completed"}

    def found() -> list[list[dict[str, Any]]]:
        each = [lines(traced, service, request_id, event_type) for service, event_type in touched.items()]
        return each if all(each) else []

    (request,), (turn,), (stored,) = await eventually(found, timeout=SECONDS)
    assert {name: request[name] for name in ("event", "level", "method", "route", "status", "org_id")} == {
        "event": "request answered",
        "level": "info",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "org_id": "default",
    }
    assert request["key_id"] in traced.key
    assert request["received_bytes"] > 50
    assert request["sent_bytes"] >= len(answered.content)
    assert turn["turn"] == "completed"
    assert turn["attempts"] == ["default: completed"]
    assert turn["completion_tokens"] > 0
    assert turn["completion_id"] == request["completion_id"] == answered.headers["x-sonant-completion-id"]
    assert stored["outcome"] == turn["outcome"] == "done"
    assert request["trace_id"] == turn["trace_id"] == stored["trace_id"]
    assert not any("secret-of-mine" in traced.log(each) for each in touched)
    assert not any(traced.key in traced.log(each) for each in touched)


async def test_a_refused_command_is_followed_too(traced: Sonant) -> None:
    request_id = f"refused-{uuid.uuid4().hex}"
    found = httpx.get(
        f"{traced.url}/v2/interactions/{uuid.uuid4()}",
        headers={**traced.headers, "x-request-id": request_id},
        timeout=SECONDS,
    )
    assert found.status_code == 404
    await eventually(lambda: lines(traced, "telemetry", request_id), timeout=SECONDS)
    (request,), (handled,) = lines(traced, "gateway", request_id), lines(traced, "telemetry", request_id)
    assert request["code"] == handled["code"] == found.json()["error"]["code"]
    assert request["status"] == handled["status"] == 404


def test_a_key_that_was_sent_as_a_request_id_is_written_nowhere(traced: Sonant) -> None:
    answered = ask(traced, "default", traced.key)
    assert answered.headers["x-request-id"].startswith("req_")
    assert traced.key not in traced.log("gateway")

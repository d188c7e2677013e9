"""Apps that are instrumented by other people's packages report to us without our SDK."""

import asyncio
import gzip
import sys
import time
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.clients import client, new_key
from tests.support.ingest import ingest_key, rows, stored
from tests.support.sonant import ROOT, Sonant

TRACES = "/v1/traces"
PROTOBUF = {"content-type": "application/x-protobuf"}


async def run_app(instrumentation: str, sonant: Sonant, ingest: str) -> list[str]:
    """What the app heard of the model."""
    arguments = (instrumentation, sonant.url, new_key(sonant).text, ingest)
    app = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests/support/instrumented_app.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await app.communicate()
    assert app.returncode == 0, trouble.decode()
    assert b"Failed to export" not in trouble, trouble.decode()
    return output.decode().splitlines()


@pytest.mark.parametrize("instrumentation", ["opentelemetry", "openinference"])
async def test_an_instrumented_app_is_seen_as_its_user_sees_it(sonant: Sonant, instrumentation: str) -> None:
    key = ingest_key(sonant)
    whole, streamed, status = await run_app(instrumentation, sonant, key.text)
    assert status == "404"
    first, second, failed = await stored(sonant, key, 3)
    assert [row["origin"] for row in (first, second, failed)] == ["otlp"] * 3
    assert [first["ai_response"], second["ai_response"]] == [whole, streamed]
    assert {row["user_prompt"] for row in (first, second)} == {"Where is my order?"}
    assert [row["status"] for row in (first, second, failed)] == ["ok", "ok", "error"]
    assert "NotFound" in orjson.loads(failed["error"])["type"]
    assert {row["provider"] for row in (first, second)} == {"openai"}
    assert first["llm_model"]
    assert first["total_tokens"]
    assert second["total_tokens"]
    assert (first["environment"], first["project_id"]) == ("test", "shop")
    assert len({row["trace_id"] for row in (first, second, failed)}) == 1
    assert first["response_ms"] > 0


def span(number: int, **attributes: Any) -> dict[str, Any]:
    """A span as JSON has it."""
    now = time.time_ns()
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": f"{number:016x}",
        "name": f"span {number}",
        "startTimeUnixNano": str(now - 2_000_000),
        "endTimeUnixNano": str(now),
        "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()],
    }


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


async def test_spans_in_json_are_interactions_and_their_steps(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    chat = span(1, **{"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1", "session.id": "s-1"})
    tool = {
        **span(2, **{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}),
        "parentSpanId": chat["spanId"],
    }
    stranger = span(3, **{"http.request.method": "GET"})
    broken = {**span(4, **{"gen_ai.operation.name": "chat"}), "traceId": "00" * 16}
    late = {**span(5, **{"gen_ai.operation.name": "chat"}), "startTimeUnixNano": "1000"}
    async with client(sonant.url, key.headers) as http:
        body = gzip.compress(orjson.dumps(export(chat, tool, stranger, broken, late)))
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        for _ in range(2):
            answer = await http.post(TRACES, content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.json()["partialSuccess"]["rejectedSpans"] == "2"
        [row] = await stored(sonant, key, 1)
        assert (row["session_id"], row["llm_model"]) == ("s-1", "m-1")
        [turn] = (await http.get("/v2/sessions/s-1")).json()["data"]
        assert [step["name"] for step in turn["steps"]] == ["weather"]
    assert len(await rows(sonant, "SELECT FROM telemetry.steps WHERE org_id = $1", key.organization)) == 1


async def test_what_is_no_export_is_refused_and_an_empty_one_is_not(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    async with client(sonant.url, key.headers) as http:
        empty = await http.post(TRACES, content=ExportTraceServiceRequest().SerializeToString(), headers=PROTOBUF)
        assert empty.status_code == 200
        assert not ExportTraceServiceResponse.FromString(empty.content).HasField("partial_success")
        assert (await http.post(TRACES, content=b"\xff\xff\xff", headers=PROTOBUF)).status_code == 400
        assert (await http.post(TRACES, json={"resourceSpans": [{"scopeSpans": 5}]})).status_code == 400
        assert (await http.post(TRACES, content=b"a", headers={"content-type": "text/plain"})).status_code == 415

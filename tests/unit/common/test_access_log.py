"""The access log: one line for each piece of work, by whom it was asked for, and nothing that was said."""

import asyncio
import json
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from common.events import trace
from common.events.envelope import Event, open_event
from common.events.record import Partition, Received, text
from common.events.telemetry import USAGE_REQUESTED
from common.kernel import access_log, tracing
from common.kernel.record_account import RecordAccount
from tests.support.waiting import eventually

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(**headers: str) -> Received:
    given = {"event-id": "e-1", "event-type": USAGE_REQUESTED.name, **headers}
    return Received(
        topic="telemetry-queries",
        key="acme/x",
        value=b"{}",
        headers=given,
        partition=Partition("telemetry-queries", 2),
        offset="7",
        timestamp=0.0,
    )


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_leaves_one_line_with_what_its_handler_adds(capsys: pytest.CaptureFixture[str]) -> None:
    with RecordAccount("telemetry", record(traceparent=TRACEPARENT), USAGE_REQUESTED) as account:
        trace_id = trace.current()
        access_log.note(turn="completed")
        account.outcome = "done"
    assert trace_id == TRACEPARENT
    (line,) = written(capsys)
    assert line.pop("seconds") >= 0
    assert line.pop("timestamp")
    assert {name: line[name] for name in line if name not in ("service", "instance")} == {
        "event": "event handled",
        "level": "info",
        "request_id": None,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "event_type": "telemetry.usage.requested",
        "event_id": "e-1",
        "record": "telemetry-queries/2@7",
        "org_id": "acme",
        "outcome": "done",
        "turn": "completed",
    }


def test_the_next_record_of_a_lane_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with RecordAccount("telemetry", record(traceparent=TRACEPARENT, **{"correlation-id": "r-1"}), USAGE_REQUESTED):
        access_log.note(turn="completed")
    with RecordAccount("telemetry", record(), USAGE_REQUESTED) as account:
        account.outcome = "parked"
    first, second = written(capsys)
    assert (first["request_id"], first["outcome"]) == ("r-1", "cancelled")
    assert (second["request_id"], second["trace_id"], second["level"]) == (None, None, "warning")
    assert "turn" not in second


@pytest.mark.parametrize("correlation_id", [text(b"\xff\xfe"), "x" * 5000])
def test_whatever_a_stranger_wrote_is_a_line(capsys: pytest.CaptureFixture[str], correlation_id: str) -> None:
    with RecordAccount("telemetry", record(**{"correlation-id": correlation_id}), USAGE_REQUESTED):
        pass
    (line,) = written(capsys)
    assert len(line["request_id"]) <= 128


async def test_lines_of_what_went_well_leave_together_and_a_bad_end_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        access_log.write("request answered", {"number": number})
    assert written(capsys) == []
    found = await eventually(partial(written, capsys))
    assert [line["number"] for line in found] == [0, 1, 2]
    access_log.write("request answered", {"number": 3})
    access_log.write("request answered", {"number": 4}, logging.WARNING)
    assert [line["number"] for line in written(capsys)] == [3, 4]


def test_a_loop_that_has_ended_keeps_no_line_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    async def one(number: int, seconds: float) -> None:
        access_log.write("request answered", {"number": number})
        await asyncio.sleep(seconds)

    for number, seconds in ((0, 0.0), (1, 2 * access_log.GATHER_SECONDS)):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(one(number, seconds))
        loop.close()
    assert [line["number"] for line in written(capsys)] == [0, 1]


def test_an_event_carries_the_request_that_led_to_it() -> None:
    trace.enter(TRACEPARENT, "req-1")
    try:
        sent = Event(USAGE_REQUESTED, USAGE_REQUESTED.payload(org_id="acme", since="2026-01-01", until="2026-01-02"))
    finally:
        trace.enter(None, None)
    written_record = sent.record()
    assert written_record.headers["correlation-id"] == "req-1"
    read = Received(
        topic=written_record.topic,
        key=written_record.key,
        value=written_record.value,
        headers=written_record.headers,
        partition=Partition(written_record.topic, 0),
        offset="1",
        timestamp=0.0,
    )
    assert open_event(read, USAGE_REQUESTED).correlation_id == "req-1"


def test_without_an_endpoint_no_span_is_made() -> None:
    span = tracing.begin("any", tracing.SpanKind.SERVER, TRACEPARENT)
    span.set({"any": 1})
    span.end("500")
    assert (span.recorded, span.traceparent) == (False, None)


def test_without_an_endpoint_no_exporter_is_loaded() -> None:
    program = "import sys, gateway.app, llm_stream.app; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert "common.kernel.tracing" in done.stdout
    assert "common.kernel.otlp_export" not in done.stdout
    assert "opentelemetry.exporter" not in done.stdout

"""The access log: one line for each request and each event that was worked on, made at little cost.

It goes beside the other lines, in the same form, and never holds content. Nothing in it is redacted: what stands there
is a name or a number of ours, or was looked at where it came in.
"""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from common.events import trace

LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}

_fields: ContextVar[dict[str, Any] | None] = ContextVar("access_line", default=None)
_names: dict[str, str] = {}
_least = logging.INFO


def configure(service: str, instance: str, level: str) -> None:
    """Name the process in every line, and write those of at least this level, on standard error."""
    global _least
    _names.update(service=service, instance=instance)
    _least = logging.getLevelNamesMapping()[level.upper()]


def begin() -> dict[str, Any]:
    """The fields of a new line, for what this task works on from now on, with the tasks that it starts."""
    fields: dict[str, Any] = {}
    _fields.set(fields)
    return fields


def note(**fields: Any) -> None:
    """Have the line that was begun tell this too; nothing where none was."""
    line = _fields.get()
    if line is not None:
        line.update(fields)


def write(event: str, fields: Mapping[str, Any], level: int = logging.INFO) -> None:
    """Write a line, with the request and the trace that are being worked on."""
    if level < _least:
        return
    traceparent = trace.current()
    line = {
        "event": event,
        "level": LEVELS[level],
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **_names,
        "request_id": trace.correlation_id(),
        "trace_id": None if traceparent is None else trace.trace_id(traceparent),
        **fields,
    }
    # Not through the logging library, which takes twenty times as long. Whoever takes the lines may be gone.
    with suppress(OSError, ValueError):
        sys.stderr.buffer.write(_encoded(line) + b"\n")
        sys.stderr.buffer.flush()


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(line)
    except orjson.JSONEncodeError:
        # A foreign record may have bytes in its key that are no text.
        return json.dumps(line, default=str).encode()

"""The access log: one line for each request and each event that was worked on, made at little cost.

It goes beside the other lines, in the same form, and never holds content. Nothing in it is redacted: what stands there
is a name or a number of ours, or was looked at where it came in.

Lines of what went well leave together: a write for each would cost more than the line, here and for whoever reads it.
"""

import asyncio
import atexit
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

# What a process that is killed may not have told.
GATHER_SECONDS = 0.05
GATHER_BYTES = 32 * 1024

_fields: ContextVar[dict[str, Any] | None] = ContextVar("access_line", default=None)
_names: dict[str, str] = {}
_least = logging.INFO
_waiting = bytearray()
# The loop that is about to write them; one that has ended does so no more.
_due_in: asyncio.AbstractEventLoop | None = None


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
    _waiting.extend(_encoded(line) + b"\n")
    # A bad end is told at once: more may follow from it than lines.
    if level > logging.INFO or len(_waiting) >= GATHER_BYTES:
        flush()
    else:
        _flush_soon()


def _flush_soon() -> None:
    global _due_in
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        flush()
        return
    if _due_in is not loop:
        loop.call_later(GATHER_SECONDS, flush)
        _due_in = loop


def flush() -> None:
    """Write the lines that wait. Not through the logging library, which takes twenty times as long."""
    global _due_in
    _due_in = None
    lines = bytes(_waiting)
    _waiting.clear()
    # Whoever takes the lines may be gone.
    with suppress(OSError, ValueError):
        sys.stderr.buffer.write(lines)
        sys.stderr.buffer.flush()


atexit.register(flush)


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(line)
    except orjson.JSONEncodeError:
        # A foreign record may have bytes in its key that are no text.
        return json.dumps(line, default=str).encode()

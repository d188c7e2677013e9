"""The access log: one line for each request and each event that was worked on, made at little cost.

It goes beside the other lines, in the same form, and never holds content. Nothing in it is redacted: what stands there
is a name or a number of ours, or was looked at where it came in.

Lines of what went well leave together: a write for each would cost more than the line, here and for whoever reads it.
They are made when they leave, one right behind the other, which takes a third of the time that it takes in between.
"""

import asyncio
import atexit
import functools
import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from common.events import trace

LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}

# What a process that is killed may not have told.
GATHER_SECONDS = 0.05
GATHER_LINES = 100


class _Line(NamedTuple):
    """What is known when a line is written. `at` is in unix seconds."""

    at: float
    event: str
    level: int
    request_id: str | None
    traceparent: str | None
    fields: Mapping[str, Any]


_fields: ContextVar[dict[str, Any] | None] = ContextVar("access_line", default=None)
_names: dict[str, str] = {}
_least = logging.INFO
_waiting: list[_Line] = []
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


def tells(level: int) -> bool:
    """Whether lines of this level are written, for who would have to find out what one says."""
    return level >= _least


def write(event: str, fields: Mapping[str, Any], level: int = logging.INFO) -> None:
    """Write a line, with the request and the trace that are being worked on; `fields` is not to change any more."""
    if level < _least:
        return
    _waiting.append(_Line(time.time(), event, level, trace.correlation_id(), trace.current(), fields))
    # A bad end is told at once: more may follow from it than lines.
    if level > logging.INFO or len(_waiting) >= GATHER_LINES:
        flush()
    elif _due_in is None or _due_in.is_closed():
        _flush_soon()


def _flush_soon() -> None:
    global _due_in
    try:
        _due_in = asyncio.get_running_loop()
    except RuntimeError:
        flush()
        return
    _due_in.call_later(GATHER_SECONDS, flush)


def flush() -> None:
    """Write the lines that wait. Not through the logging library, which takes twenty times as long."""
    global _due_in
    _due_in = None
    lines = b"".join(map(_encoded, _waiting))
    _waiting.clear()
    # Whoever takes the lines may be gone.
    with suppress(OSError, ValueError):
        sys.stderr.buffer.write(lines)
        sys.stderr.buffer.flush()


atexit.register(flush)


def _encoded(told: _Line) -> bytes:
    line = {
        "event": told.event,
        "level": LEVELS[told.level],
        "timestamp": f"{_second(int(told.at))}.{int(told.at % 1 * 1000):03}+00:00",
        **_names,
        "request_id": told.request_id,
        "trace_id": None if told.traceparent is None else trace.trace_id(told.traceparent),
        **told.fields,
    }
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # A foreign record may have bytes in its key that are no text.
        return json.dumps(line, default=str).encode() + b"\n"


@functools.lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")

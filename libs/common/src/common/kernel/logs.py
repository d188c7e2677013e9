"""Structured logs: one JSON object a line on standard error, secrets redacted, ids bound to the context."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from common.events import trace
from common.kernel import access_log
from common.redaction import REDACTED, redact_text

SECRET_NAMES = re.compile(r"authorization|api[-_]?key|password|secret|token$|cookie", re.IGNORECASE)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values under telling names, and telling patterns inside texts, however deep."""
    for name, value in event.items():
        # Names with an underscore belong to the logging library, and are not written.
        if not name.startswith("_"):
            event[name] = REDACTED if SECRET_NAMES.search(name) else _redacted(value)
    return event


def add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the trace that is being worked on, and the request that led to it."""
    if traceparent := trace.current():
        event["trace_id"] = trace.trace_id(traceparent)
    if request_id := trace.correlation_id():
        event.setdefault("request_id", request_id)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {name: REDACTED if SECRET_NAMES.search(str(name)) else _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(inner) for inner in value]
    # Anything else would be written as its representation.
    return redact_text(value if isinstance(value, str) else repr(value))


def configure(service: str, instance: str, level: str) -> None:
    """Route structlog and the standard library's logging to one JSON stream."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    render: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=render, foreign_pre_chain=shared))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These speak at length about every reconnect; what matters of it we log ourselves.
    for chatty in ("aiokafka", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    structlog.contextvars.bind_contextvars(service=service, instance=instance)
    access_log.configure(service, instance, level)

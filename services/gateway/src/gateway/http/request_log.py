"""What is told of a request when it is over: a line of the access log, and a span. Neither holds content."""

import logging
from http import HTTPStatus

from aiohttp import web

from common.kernel import access_log, tracing
from gateway.http.context import BODY_BYTES, CALLER, COMPLETION, ERROR_CODE

# The status of a request whose client left, or whose answer was broken off.
CUT = "cut"
# Asked every few seconds by machines.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
OUR_FAULT = HTTPStatus.INTERNAL_SERVER_ERROR.value


def route_and_method(request: web.Request) -> tuple[str, str]:
    """Route and method as names; whatever a stranger may invent is one name."""
    resource = request.match_info.route.resource
    return (resource.canonical, request.method) if resource else ("none", "none")


def write(request: web.Request, named: tuple[str, str], status: int | str, seconds: float) -> None:
    """The line: who asked for what, how it ended, how long it took and how much came and went."""
    route, method = named
    level = _level(route, status)
    if not access_log.tells(level):
        return
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        "received_bytes": _received(request),
        "sent_bytes": request.writer.output_size,
    }
    if (caller := request.get(CALLER)) is not None:
        fields["org_id"], fields["key_id"] = caller.org_id, caller.key_id
    if (code := request.get(ERROR_CODE)) is not None:
        fields["code"] = code
    if (completion := request.get(COMPLETION)) is not None:
        fields["completion_id"] = completion
    access_log.write("request answered", fields, level)


def _received(request: web.Request) -> int:
    """The body as it was read; where nobody counted, as it was announced."""
    return request.get(BODY_BYTES) or request.content_length or 0


def _level(route: str, status: int | str) -> int:
    if isinstance(status, int) and status >= OUR_FAULT:
        return logging.WARNING
    return logging.DEBUG if route in PROBES else logging.INFO


def end(span: tracing.OpenSpan, request: web.Request, named: tuple[str, str], status: int | str) -> None:
    """The span, which tells the same in the words of OpenTelemetry's conventions for HTTP."""
    if not span.recorded:
        span.end()
        return
    route, method = named
    caller = request.get(CALLER)
    span.set(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status if isinstance(status, int) else None,
            "url.scheme": request.scheme,
            "gen_ai.response.id": request.get(COMPLETION),
            "sonant.org_id": None if caller is None else caller.org_id,
            "sonant.key_id": None if caller is None else caller.key_id,
        }
    )
    failed = not isinstance(status, int) or status >= OUR_FAULT
    span.end(str(status) if failed else None)

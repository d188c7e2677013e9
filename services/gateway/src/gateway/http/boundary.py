"""What surrounds every handler: a request id, a trace, and the one error shape for whatever is raised."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from aiohttp import hdrs, web

from common.bus.port import MAX_VALUE_BYTES, BusUnavailableError, RecordTooLargeError, UnconfirmedError
from common.events import trace
from common.failures import Refused, StoreUnavailableError
from common.kernel import tracing
from common.metrics import labelled
from common.redaction import looks_secret
from gateway.http import errors, request_log
from gateway.http.context import COMPLETION, COMPLETION_HEADER, ERROR_CODE, REQUEST_ID
from gateway.http.not_served import instead_of
from gateway.http.refusal_pacing import PACING
from gateway.http.request_log import CUT, route_and_method
from gateway.metrics import HTTP_SECONDS

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Long enough for a trace id or a UUID with a prefix; nothing that could break a header or a log line.
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
FORESEEN = (Refused, web.HTTPException, BusUnavailableError, RecordTooLargeError, StoreUnavailableError)


def install(app: web.Application) -> None:
    """Put the boundary around every route of `app`."""
    app.middlewares.append(boundary)
    app.on_response_prepare.append(finish_headers)


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id and turn whatever its handler raises into an answer of the one shape.

    An error after the first byte has left is raised on: the server then cuts the connection, so that a broken
    stream never looks complete.
    """
    started = time.perf_counter()
    status: int | str = CUT
    request[REQUEST_ID] = choose_request_id(request.headers.get("x-request-id"))
    named = route_and_method(request)
    span = _follow(request, named)
    try:
        response = await _answer(request, handler)
        status = response.status
        return response
    finally:
        seconds = time.perf_counter() - started
        labelled(HTTP_SECONDS, *named, str(status)).observe(seconds)
        request_log.write(request, named, status, seconds)
        request_log.end(span, request, named, status)


def _follow(request: web.Request, named: tuple[str, str]) -> tracing.OpenSpan:
    """Have the id and the trace of a request go with all that is done for it."""
    given = request.headers.get("traceparent")
    route, method = named
    span = tracing.begin(f"{method} {route}", tracing.SpanKind.SERVER, given)
    trace.enter(span.traceparent or trace.continued(given), request[REQUEST_ID])
    return span


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FORESEEN as error:
        if _beyond_answering(request) or (isinstance(error, web.HTTPException) and error.status < 400):
            raise
        # A copy: the error itself knows the request's body, which is not to wait with the refusal.
        refused = replace(describe(error, request))
    except Exception:
        # The outermost frame of a request: a bug costs one answer, never the shape.
        if _beyond_answering(request):
            raise
        log.exception("unhandled error", method=request.method, path=request.path)
        request[ERROR_CODE] = "internal_error"
        return errors.response_to(errors.internal())
    request[ERROR_CODE] = refused.code or refused.type
    return await _refuse(request, refused)


async def _refuse(request: web.Request, refused: Refused) -> web.StreamResponse:
    if (pacing := request.app.get(PACING)) is not None:
        await pacing.hold(request, refused)
    response = errors.response_to(refused)
    if request.content.exception() is not None or not request.content.is_eof():
        # Where this body ends is not known, so nothing can follow it.
        response.force_close()
    return response


def _beyond_answering(request: web.Request) -> bool:
    """Whether the caller has left or part of an answer is on its way."""
    return request.transport is None or request.writer.output_size > 0


async def finish_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Signal `on_response_prepare`: the ids go into every answer, what we run on into none."""
    headers = response.headers
    headers["x-request-id"] = request.get(REQUEST_ID) or choose_request_id(None)
    headers["x-content-type-options"] = "nosniff"
    if completion := request.get(COMPLETION):
        headers.setdefault(COMPLETION_HEADER, completion)
    headers.popall(hdrs.SERVER, None)


def choose_request_id(given: str | None) -> str:
    """The caller's id where it is sane, else a new one. For correlation only: callers may repeat theirs.

    It stands in log lines: a key that was taken for one does not.
    """
    if given is not None and SANE_REQUEST_ID.fullmatch(given) and not looks_secret(given):
        return given
    return f"req_{secrets.token_hex(16)}"


def describe(error: Exception, request: web.Request) -> Refused:
    """The answer for an error that was foreseen."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, web.HTTPException):
        return _from_http(error, request)
    if isinstance(error, RecordTooLargeError):
        # Numbers may be written longer than they came: 1e15 has four characters, and sixteen digits.
        return errors.too_large(MAX_VALUE_BYTES, "written out as JSON")
    return errors.unconfirmed() if isinstance(error, UnconfirmedError) else errors.unavailable()


def _from_http(error: web.HTTPException, request: web.Request) -> Refused:
    if isinstance(error, web.HTTPNotFound):
        unknown = f"Unknown request URL: {request.method} {request.path}."
        sentence = instead_of(request.path)
        return errors.not_found(unknown if sentence is None else f"{unknown} {sentence}", code="unknown_url")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not answer {request.method}; use {allowed}."
        return Refused(405, message, "method_not_allowed", headers={hdrs.ALLOW: allowed})
    if error.status >= 500:
        return Refused(error.status, f"{error.reason}.", type=errors.SERVER_ERROR)
    return Refused(error.status, f"{error.reason}.")

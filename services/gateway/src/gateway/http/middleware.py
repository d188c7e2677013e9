"""What surrounds every handler: request ids, the one error shape, bounded JSON bodies."""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from pydantic import BaseModel, ValidationError

from common.bus.port import MAX_VALUE_BYTES, BusUnavailableError, RecordTooLargeError
from common.events import trace
from common.metrics import labelled
from gateway.http import errors
from gateway.http.errors import ApiError
from gateway.metrics import HTTP_SECONDS
from gateway.ports import COMPLETION, COMPLETION_HEADER, REQUEST_ID, StoreUnavailableError

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=BaseModel)

# Long enough for a trace id or a UUID with a prefix; nothing that could break a header or a log line.
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# No honest request nests deeper; recursive code behind us stays far from its limits.
MAX_DEPTH = 64
# Bounds what parsing may cost: several times the largest conversation, a fifth of a second at worst.
MAX_CONTAINERS = 250_000
FORESEEN = (ApiError, web.HTTPException, BusUnavailableError, RecordTooLargeError, StoreUnavailableError)
# What reading a body raises that is packed or sent wrongly.
UNREADABLE = (web.RequestPayloadError, HttpProcessingError)
BAD_HTTP = "The request is not valid HTTP, or its headers are too large."
# How long a refused body is still read, so that its sender gets to see the refusal.
LINGER_SECONDS = 2.0
# A body of the largest size takes this long on a slow line (about 1 Mbit/s); a client that trickles is cut off.
BODY_SECONDS = 30.0
# What the HTTP server can unpack without further packages.
ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})

# Brackets of both kinds become one kind; everything but brackets and quotes goes.
_FOLD = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id and turn whatever its handler raises into an answer of the one shape.

    An error after the first byte has left is raised on: the server then cuts the connection, so that a broken
    stream never looks complete.
    """
    started, status = time.perf_counter(), "cut"
    request_id = request[REQUEST_ID] = choose_request_id(request.headers.get("x-request-id"))
    structlog.contextvars.bind_contextvars(request_id=request_id)
    trace.enter(trace.continued(request.headers.get("traceparent")))
    try:
        response = await _answer(request, handler)
        status = str(response.status)
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning(
                "request failed",
                method=request.method,
                path=request.path,
                status=response.status,
                completion=request.get(COMPLETION),
            )
        return response
    finally:
        labelled(HTTP_SECONDS, *_labels(request), status).observe(time.perf_counter() - started)


def _labels(request: web.Request) -> tuple[str, str]:
    """Route and method; whatever a stranger may invent is one label."""
    resource = request.match_info.route.resource
    return (resource.canonical, request.method) if resource else ("none", "none")


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FORESEEN as error:
        if _beyond_answering(request) or (isinstance(error, web.HTTPException) and error.status < 400):
            raise
        response = describe(error, request).response()
        if request.content.exception() is not None or not request.content.is_eof():
            # Where this body ends is not known, so nothing can follow it.
            response.force_close()
        return response
    except Exception:
        # The outermost frame of a request: a bug costs one answer, never the shape.
        if _beyond_answering(request):
            raise
        log.exception("unhandled error", method=request.method, path=request.path)
        return errors.internal().response()


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
    """The caller's id where it is sane, else a new one. For correlation only: callers may repeat theirs."""
    if given is not None and SANE_REQUEST_ID.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(16)}"


def describe(error: Exception, request: web.Request) -> ApiError:
    """The answer for an error that was foreseen."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, web.HTTPException):
        return _from_http(error, request)
    if isinstance(error, RecordTooLargeError):
        # Numbers may be written longer than they came: 1e15 has four characters, and sixteen digits.
        return errors.too_large(MAX_VALUE_BYTES, "written out as JSON")
    return errors.unavailable()


def _from_http(error: web.HTTPException, request: web.Request) -> ApiError:
    if isinstance(error, web.HTTPNotFound):
        return errors.not_found(f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not answer {request.method}; use {allowed}."
        return ApiError(405, message, code="method_not_allowed", headers={hdrs.ALLOW: allowed})
    kind = errors.SERVER_ERROR if error.status >= 500 else errors.INVALID_REQUEST
    return ApiError(error.status, f"{error.reason}.", kind)


class _Protocol(web.RequestHandler):
    """Answers what never reaches a route (malformed HTTP, oversized headers) in the one shape too."""

    __slots__ = ()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Skip what the server meets again when it reads on behind a body that was refused as unreadable."""
        if not isinstance(kw.get("exc_info"), UNREADABLE):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.transport is None:
            raise ConnectionResetError("the caller left")
        error = _unread(status, exc)
        if status >= 500:
            # Logs the error, and raises ConnectionError where an answer has begun.
            super().handle_error(request, status, exc, message)
            error = errors.internal()
        response = error.response()
        response.headers["x-request-id"] = choose_request_id(None)
        # The default would name the runtime and its version.
        response.headers[hdrs.SERVER] = "sonant"
        response.force_close()
        return response


def _unread(status: int, why: BaseException | None) -> ApiError:
    """What to say of a request the parser gave up on."""
    if isinstance(why, ContentEncodingError):
        return ApiError(415, "This Content-Encoding is not supported; use gzip.", code="unsupported_encoding")
    return ApiError(status, BAD_HTTP, code="bad_http")


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An `AppRunner` whose connections answer malformed HTTP in the one error shape."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            **{"lingering_time": LINGER_SECONDS, **self._kwargs},
        )


async def expect(request: web.Request) -> web.StreamResponse | None:
    """The `Expect` header of a request: `100-continue` is granted, anything else refused with 417."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        return ApiError(417, "The only expectation met is 100-continue.", code="expectation_failed").response()
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What follows is the answer; only its bytes count as one.
    request.writer.output_size = 0
    return None


async def read_json(request: web.Request, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object in the body, at most `max_bytes` long (unpacked) and `max_depth` levels deep.

    Raises ApiError: 413 too large, 415 packed in an unknown way, 400 anything else that is wrong with it.
    """
    return parse_json(await read_body(request, max_bytes), max_depth=max_depth)


def parse_json(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object that `body` is, at most `max_depth` levels deep; raises ApiError 400."""
    brackets = body.count(b"[") + body.count(b"{")
    if brackets > MAX_CONTAINERS and len(_structure(body)) > 2 * MAX_CONTAINERS:
        raise errors.bad_request(
            f"The request body holds more than {MAX_CONTAINERS} lists and objects.", code="too_many"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The parser has a limit of its own, far above ours, and does not tell it from bad syntax.
        raise _too_deep(max_depth) if _nests_deeper(body, max_depth) else _not_json(body, error) from None
    if not isinstance(value, dict):
        raise errors.bad_request("The request body must be a JSON object.", code="invalid_json")
    if brackets > max_depth and _is_deeper(value, max_depth):
        raise _too_deep(max_depth)
    return value


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, unpacked; raises ApiError 413, 415, 408 or 400."""
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding not in ENCODINGS:
        raise ApiError(415, f"Content-Encoding {encoding!r} is not supported; use gzip.", code="unsupported_encoding")
    if (request.content_length or 0) > max_bytes:
        raise errors.too_large(max_bytes)
    try:
        if request.content.is_eof():
            # The common case: it came together with the head, and needs no timer.
            return await _read_all(request, max_bytes)
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_all(request, max_bytes)
    except UNREADABLE:
        raise errors.bad_request("The request body could not be read.", code="invalid_body") from None
    except TimeoutError:
        raise ApiError(408, "The request body did not arrive in time.", code="request_timeout") from None


async def _read_all(request: web.Request, max_bytes: int) -> bytes:
    chunks, size = [], 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > max_bytes:
            raise errors.too_large(max_bytes)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_deep(max_depth: int) -> ApiError:
    return errors.bad_request(f"The request body is nested more than {max_depth} levels deep.", code="too_deep")


def _is_deeper(value: dict[str, Any], max_depth: int) -> bool:
    """Whether a parsed document nests deeper than `max_depth`; one pass a level, no recursion."""
    level: list[Any] = [value]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
        if not level:
            return False
    return True


def _nests_deeper(body: bytes, max_depth: int) -> bool:
    """The same for text too deep to be parsed; text that is not JSON may pass.

    Peels one level a step by removing empty pairs, at the speed of `bytes.replace`.
    """
    brackets = _structure(body)
    for _ in range(max_depth):
        before, brackets = len(brackets), brackets.replace(b"[]", b"")
        if len(brackets) == before:
            return False
    return bool(brackets)


def _structure(body: bytes) -> bytes:
    """The brackets of a JSON text, both kinds as one, without those inside its strings."""
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_FOLD, _NOT_STRUCTURE)
    return b"".join(bare.split(b'"')[::2])


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> ApiError:
    return errors.bad_request(_why_not_json(body, error), code="invalid_json")


def _why_not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return "The request body is empty; a JSON object is expected."
    try:
        body.decode()
    except UnicodeDecodeError:
        return "The request body is not valid UTF-8."
    return f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."


def validate(model: type[M], data: Any) -> M:
    """`data` as `model`; raises ApiError 400 that names the first parameter at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    code = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}.get(first["type"])
    subject = f"Invalid '{param}'" if param else "Invalid request"
    raise errors.bad_request(f"{subject}: {first['msg']}.", param, code or "invalid_value")


def read_query(request: web.Request, model: type[M]) -> M:
    """The query parameters as `model`; raises ApiError 400. A parameter may be given once."""
    query = request.query
    for name in query:
        if len(query.getall(name)) > 1:
            raise errors.bad_request(f"Invalid '{name}': given more than once.", name, "invalid_value")
    return validate(model, dict(query))


def install(app: web.Application) -> None:
    """Put the boundary around every route of `app`."""
    app.middlewares.append(boundary)
    app.on_response_prepare.append(finish_headers)

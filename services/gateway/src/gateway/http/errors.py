"""What a caller is told when something goes wrong: one shape for every status."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from common.events.reply import error_body

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
# How soon to come back when nothing better is known: long enough to spare us, short enough for a restart.
RETRY_SECONDS = 1.0


@dataclass(eq=False)
class ApiError(Exception):
    """An error to be answered as `{"error": {"message", "type", "param", "code"}}` with `status`."""

    status: int
    message: str
    type: str = INVALID_REQUEST
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The error object as JSON; all four members are always there."""
        return orjson.dumps(error_body(self.message, type=self.type, code=self.code, param=self.param))

    def response(self) -> web.Response:
        """The answer that carries this error."""
        return web.Response(
            status=self.status, body=self.body(), content_type="application/json", headers=dict(self.headers)
        )


def come_back(seconds: float) -> dict[str, str]:
    """Headers that say when to try again: whole seconds (at least 1) and exact milliseconds."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request cannot be served as it is."""
    return ApiError(400, message, code=code, param=param)


def unauthorized(message: str = "Incorrect API key provided.") -> ApiError:
    """401: no key, or not a key of ours, or one that has ended."""
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def forbidden(scope: str) -> ApiError:
    """403: the key is valid and lacks the scope."""
    return ApiError(403, f"This API key lacks the scope `{scope}`.", "permission_error", code="insufficient_scope")


def not_found(message: str = "Not found.", param: str | None = None, code: str | None = "not_found") -> ApiError:
    """404: there is no such thing, or not for this caller."""
    return ApiError(404, message, code=code, param=param)


def conflict(message: str, code: str = "conflict", *, retry: float | None = None) -> ApiError:
    """409: it clashes with something under way; `retry` seconds later it may not."""
    headers = {} if retry is None else come_back(retry)
    return ApiError(409, message, code=code, headers=headers)


def too_large(max_bytes: int, form: str = "") -> ApiError:
    """413: the body exceeds what this route accepts; `form` says in which form it was measured, if not as it came."""
    subject = f"The request body, {form}," if form else "The request body"
    return ApiError(413, f"{subject} is larger than {max_bytes} bytes.", code="request_too_large")


def unprocessable(message: str, code: str, param: str | None = None) -> ApiError:
    """422: understood, but it contradicts an earlier request."""
    return ApiError(422, message, code=code, param=param)


def rate_limited(
    message: str,
    *,
    type: str = "requests",
    code: str = "rate_limit_exceeded",
    retry: float | None,
    headers: Mapping[str, str] | None = None,
) -> ApiError:
    """429: a limit of the key is reached.

    `retry` is in seconds; None means that waiting does not help, which clients are told as well.
    """
    hint = {"x-should-retry": "false"} if retry is None else {**come_back(retry), "x-should-retry": "true"}
    return ApiError(429, message, type, code=code, headers={**(headers or {}), **hint})


def internal() -> ApiError:
    """500: a bug of ours; the request id leads to its log entry."""
    return ApiError(500, "The server had an error while processing your request.", SERVER_ERROR, code="internal_error")


def unavailable(
    message: str = "The service is not available right now.", *, retry: float = RETRY_SECONDS, code: str = "unavailable"
) -> ApiError:
    """503: something we need is away; it was not done and may work in `retry` seconds."""
    return ApiError(503, message, SERVER_ERROR, code=code, headers=come_back(retry))


def timed_out(message: str = "The answer did not come in time.") -> ApiError:
    """504: the deadline passed."""
    return ApiError(504, message, SERVER_ERROR, code="timeout")

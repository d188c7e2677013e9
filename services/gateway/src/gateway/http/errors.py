"""What a caller gets to see when something goes wrong: one shape for every status."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

import orjson
from aiohttp import web

from common.failures import Refused
from common.redaction import redact_text

SERVER_ERROR = "server_error"
# Of a 429 for what a key or its organisation may have; that of a provider has another.
LIMIT_TYPES = frozenset({"requests", "tokens", "insufficient_quota"})
# How soon to come back when nothing better is known: long enough to spare us, short enough for a restart.
RETRY_SECONDS = 1.0


def response_to(refused: Refused) -> web.Response:
    """The answer that carries a refusal, as `{"error": {"message", "type", "param", "code", ...}}`."""
    return web.Response(
        status=refused.status,
        body=orjson.dumps(shown(refused).body()),
        content_type="application/json",
        headers=dict(refused.headers),
    )


def shown(refused: Refused) -> Refused:
    """A refusal as callers may see it: a 5xx may quote an upstream or an engine, which know more than they may."""
    if refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return refused
    return replace(refused, message=redact_text(refused.message))


def plain_answer(refused: Refused) -> bytes:
    """The same as bytes, for a connection on which no request was read; it closes behind them."""
    body = orjson.dumps(refused.body())
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": f"req_{secrets.token_hex(16)}",
        **refused.headers,
    }
    lines = [f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def retry_headers(status: int, seconds: float | None) -> dict[str, str]:
    """Headers for a failure that a service behind the log reports; `seconds` None where it named no time to wait."""
    if seconds is None and status == 429:
        # A quota that is spent: no waiting helps.
        return {"x-should-retry": "false"}
    if seconds is None and status != 503:
        return {}
    return come_back(RETRY_SECONDS if seconds is None else seconds)


def come_back(seconds: float) -> dict[str, str]:
    """Headers that say when to try again: whole seconds (at least 1) and exact milliseconds."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """400: the request cannot be served as it is."""
    return Refused(400, message, code=code, param=param)


def unauthorized(message: str = "Incorrect API key provided.") -> Refused:
    """401: no key, or not a key of ours, or one that has ended."""
    return Refused(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def forbidden(scope: str) -> Refused:
    """403: the key is valid and lacks the scope."""
    return Refused(403, f"This API key lacks the scope `{scope}`.", "insufficient_scope", type="permission_error")


def not_found(message: str = "Not found.", param: str | None = None, code: str | None = "not_found") -> Refused:
    """404: there is no such thing, or not for this caller."""
    return Refused(404, message, code=code, param=param)


def conflict(message: str, code: str = "conflict", *, retry: float | None = None) -> Refused:
    """409: it clashes with something under way; `retry` seconds later it may not."""
    headers = {} if retry is None else come_back(retry)
    return Refused(409, message, code=code, headers=headers)


def too_large(max_bytes: int, form: str = "") -> Refused:
    """413: the body exceeds what this route accepts; `form` says in which form it was measured, if not as it came."""
    subject = f"The request body, {form}," if form else "The request body"
    return Refused(413, f"{subject} is larger than {max_bytes} bytes.", code="request_too_large")


def unprocessable(message: str, code: str, param: str | None = None) -> Refused:
    """422: understood, but it contradicts an earlier request."""
    return Refused(422, message, code=code, param=param)


def rate_limited(
    message: str,
    *,
    type: str = "requests",
    code: str = "rate_limit_exceeded",
    retry: float | None,
    headers: Mapping[str, str] | None = None,
) -> Refused:
    """429: a limit of the key is reached.

    `retry` is in seconds; None means that waiting does not help, and the headers say so.
    """
    hint = {"x-should-retry": "false"} if retry is None else {**come_back(retry), "x-should-retry": "true"}
    return Refused(429, message, code, type=type, headers={**(headers or {}), **hint})


def internal() -> Refused:
    """500: a bug of ours; the request id leads to its log entry."""
    message = "The server had an error while processing your request."
    return Refused(500, message, "internal_error", type=SERVER_ERROR)


def unavailable(
    message: str = "The service is not available right now.", *, retry: float = RETRY_SECONDS, code: str = "unavailable"
) -> Refused:
    """503: something we need is away; it was not done and may work in `retry` seconds."""
    return Refused(503, message, code, type=SERVER_ERROR, headers=come_back(retry))


def unconfirmed() -> Refused:
    """503: the log did not acknowledge a command, which may take effect; only with an idempotency key it may be sent
    again without a thought."""
    message = (
        "It is not known whether the request was accepted: the log did not acknowledge it. "
        "Look whether it took effect, or send it again with the Idempotency-Key that it carried."
    )
    return Refused(503, message, "unconfirmed", type=SERVER_ERROR, headers=come_back(RETRY_SECONDS))


def timed_out(message: str = "The answer did not come in time.") -> Refused:
    """504: the deadline passed."""
    return Refused(504, message, "timeout", type=SERVER_ERROR)

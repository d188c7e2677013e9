"""What every call has in common: key, JSON body, model, record, and the failures that come before an answer."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from aiohttp import web

from sandbox.faults import GATES, Failure, Pace, Speech, UnknownDirective, parse, split_model
from sandbox.openai.dialects import spoken, translated
from sandbox.openai.dialects.dialect import Dialect
from sandbox.openai.errors import ApiError, error_response, invalid, no_such_model
from sandbox.openai.models import exists
from sandbox.recorder import RECORDER, Exchange
from sandbox.sockets import abort

# A reset overtakes what the peer has received and not yet read, so what was sent gets time to be read.
FLUSH_SECONDS = 0.02
FOREVER_SECONDS = 86_400.0
REFUSED_KEY = "sk-invalid"
_UNAVAILABLE = "The server is currently overloaded with other requests. Sorry about that! Please retry later."
_MESSAGES = {
    401: "Incorrect API key provided.",
    403: "You are not allowed to use this model.",
    429: "Rate limit reached for requests. Please try again later.",
    500: "The server had an error while processing your request. Sorry about that!",
}


class Ended(Exception):
    """A fault has ended the call; `response` is what is left for the server to finish."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("ended by a fault")
        self.response = response


@dataclass(slots=True)
class Call:
    """One authenticated call with a parsed body."""

    request: web.Request
    exchange: Exchange
    body: dict[str, Any]
    model: str
    dialect: Dialect | None
    pace: Pace
    speech: Speech
    failure: Failure
    started: float

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer."""
        return answer_headers(self.exchange.id, self.started)

    def error_response(self, error: ApiError) -> web.Response:
        """Return the answer for an error, in the words of the dialect."""
        return error_response(translated(error, self.dialect, self.body), self.headers())


def answer_headers(call_id: str, started: float) -> dict[str, str]:
    """Return the headers every answer carries; `started` is a monotonic time."""
    return {
        "x-request-id": call_id,
        "openai-processing-ms": str(int((time.monotonic() - started) * 1000)),
        "openai-version": "2020-10-01",
        "openai-organization": "sandbox",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
    }


def check_key(request: web.Request) -> None:
    """Raise ApiError 401 unless the request carries an acceptable bearer key."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
        raise ApiError(401, message)
    if key.strip() == REFUSED_KEY:
        raise ApiError(401, f"Incorrect API key provided: {REFUSED_KEY}.")


def observed(
    answer: Callable[[Call], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a handler of an answer: recorded, faulty on request, errors in the provider's shape."""

    async def handle(request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        exchange = Exchange(f"req_{secrets.token_hex(16)}", request.path, request.headers, await request.read())
        try:
            return await _answer(request, exchange, started, answer)
        except ApiError as error:
            exchange.status = error.status
            exchange.finish("rejected")
            return error_response(error, answer_headers(exchange.id, started))
        except Ended as ended:
            return ended.response
        except ConnectionResetError:
            exchange.finish("client_closed")
            return web.Response(status=499)
        except asyncio.CancelledError:
            exchange.finish("client_closed")
            raise

    return handle


async def _answer(
    request: web.Request,
    exchange: Exchange,
    started: float,
    answer: Callable[[Call], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    body = _json_object(exchange.body)
    named = body.get("model")
    model = named if isinstance(named, str) else ""
    request.app[RECORDER].begin(exchange, model=model, stream=body.get("stream") is True)
    dialect, own_name = spoken(request.headers.get("x-sandbox-dialect", ""), model)
    try:
        check_key(request)
        if not model:
            raise invalid("you must provide a model parameter")
        call = _call(request, exchange, body, own_name, dialect, started)
        await _fail_early(call)
        return await answer(call)
    except ApiError as error:
        raise translated(error, dialect, body) from error


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
            " HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    return body


def _call(
    request: web.Request, exchange: Exchange, body: dict[str, Any], model: str, dialect: Dialect | None, started: float
) -> Call:
    base, directives = split_model(model)
    if not exists(base):
        raise no_such_model(model)
    try:
        faults = parse(directives, request.headers.get("x-sandbox-fault", ""))
    except UnknownDirective as unknown:
        raise invalid(f"Unknown sandbox directive '{unknown}'.", "model", "unknown_directive") from None
    scenario = request.headers.get("x-sandbox-scenario", "")
    failure = request.app[GATES].decide(faults, model, scenario)
    return Call(request, exchange, body, model, dialect, faults.pace, faults.speech, failure, started)


async def _fail_early(call: Call) -> None:
    failure = call.failure
    if call.pace.headers:
        await asyncio.sleep(call.pace.headers / 1000)
    if failure.silence:
        await asyncio.sleep(FOREVER_SECONDS)
    if failure.reset:
        call.exchange.finish("fault")
        abort(call.request)
        raise Ended(web.Response())
    if failure.html is not None:
        _end(call, _html_page(failure.html))
    if refusal := _refusal(failure):
        _end(call, call.error_response(refusal))


def _end(call: Call, response: web.Response) -> NoReturn:
    call.exchange.status = response.status
    call.exchange.finish("fault")
    raise Ended(response)


def _html_page(status: int) -> web.Response:
    page = f"<html><head><title>{status}</title></head><body><h1>{status} Bad Gateway</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")


def _refusal(failure: Failure) -> ApiError | None:
    if failure.quota:
        message = "You exceeded your current quota, please check your plan and billing details."
        return ApiError(429, message, code="insufficient_quota", headers={"x-should-retry": "false"})
    if failure.context_length:
        return context_too_long(128_000, 131_072)
    if failure.content_filter:
        message = "Your request was rejected as a result of our safety system."
        return invalid(message, "prompt", "content_filter")
    if failure.status is None:
        return None
    message = _MESSAGES.get(failure.status, _UNAVAILABLE)
    return ApiError(failure.status, message, headers=_retry_headers(failure))


def _retry_headers(failure: Failure) -> dict[str, str]:
    hints = {
        "retry-after": failure.retry_after,
        "retry-after-ms": failure.retry_after_ms,
        "x-should-retry": failure.should_retry,
    }
    return {name: str(value).lower() for name, value in hints.items() if value is not None}


def context_too_long(limit: int, used: int) -> ApiError:
    """The prompt does not fit the context window (both in tokens): 400."""
    return ApiError(
        400,
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {used} tokens."
        " Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
        numbers={"limit": limit, "used": used},
    )

"""What every Hume call has in common: key, record, JSON body, and the faults on the way in and out."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.accounts import ACCOUNTS, Account
from sandbox.hume.errors import HumeError, bad_key, invalid, json_response, refusal
from sandbox.hume.faults import Fault, UnknownFault, parse
from sandbox.recorder import RECORDER, Exchange
from sandbox.sockets import abort

FOREVER_SECONDS = 86_400.0
# The faults of a request, for a route that has some of its own.
FAULTS: web.RequestKey[list[Fault]] = web.RequestKey("faults", list)
REFUSED_KEY = "hume-invalid"
MAX_PAGE_SIZE = 100
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"\d{1,9}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Call:
    """One authenticated call."""

    request: web.Request
    account: Account
    raw: bytes

    def body(self) -> dict[str, Any]:
        """The JSON object sent; members that are null count as absent. Raise HumeError 400."""
        try:
            body = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            raise invalid("the body is not valid JSON", "E0100") from None
        if not isinstance(body, dict):
            raise invalid("the body must be a JSON object", "E0101")
        return {name: value for name, value in body.items() if value is not None}

    def id(self) -> str:
        """The resource id of the path; raise HumeError 400."""
        id = self.request.match_info["id"]
        if _UUID.fullmatch(id) is None:
            raise invalid(f"'{id}' is not a valid id")
        return id.lower()

    def version(self) -> int:
        """The version number of the path; raise HumeError 400."""
        number = self.request.match_info["version"]
        if _NUMBER.fullmatch(number) is None:
            raise invalid(f"'{number}' is not a valid version")
        return int(number)

    def page(self) -> tuple[int, int]:
        """Number (from 0) and size (1 to 100, default 10) of the page; raises HumeError (400)."""
        query = self.request.query
        number, size = query.get("page_number", "0"), query.get("page_size", "10")
        if _NUMBER.fullmatch(number) is None:
            raise invalid("page_number must be 0 or more")
        if _NUMBER.fullmatch(size) is None or not 1 <= int(size) <= MAX_PAGE_SIZE:
            raise invalid(f"page_size must be between 1 and {MAX_PAGE_SIZE}")
        return int(number), int(size)

    def flag(self, name: str, default: bool) -> bool:
        """A boolean of the query; raise HumeError 400."""
        value = self.request.query.get(name, str(default)).lower()
        if value not in ("true", "false"):
            raise invalid(f"{name} must be true or false")
        return value == "true"


def paged(call: Call, key: str, items: list[dict[str, Any]], **more: Any) -> web.Response:
    """One page of `items`; beyond the end it is an empty one."""
    number, size = call.page()
    total_pages = -(-len(items) // size)
    some = items[number * size : (number + 1) * size]
    return json_response({"page_number": number, "page_size": size, "total_pages": total_pages, **more, key: some})


def observed(answer: Callable[[Call], Awaitable[web.Response]]) -> Handler:
    """Make a handler of an answer: recorded, authenticated, faulty on request, errors in the provider's shape."""

    async def served(request: web.Request, raw: bytes) -> web.StreamResponse:
        key = _key(request)
        account = request.app[ACCOUNTS].of(key)
        account.requests += 1
        return await meet_faults(request, account, lambda: answer(Call(request, account, raw)))

    return recorded(served)


def recorded(serve: Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]) -> Handler:
    """Note the call and how it ended, and answer errors."""

    async def handle(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        exchange = Exchange(f"req_{secrets.token_hex(16)}", request.path_qs, request.headers, raw, request.method)
        request.app[RECORDER].begin(exchange, model="hume", stream=False)
        try:
            response = await serve(request, raw)
        except HumeError as error:
            response = error.response()
        except asyncio.CancelledError:
            exchange.finish("client_closed")
            raise
        exchange.status = response.status
        exchange.finish("completed" if response.status < 400 else "rejected")
        return response

    return handle


def _key(request: web.Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = request.app[ACCOUNTS].key_of(token.strip())
    else:
        key = request.headers.get("x-hume-api-key", "").strip()
    if not key or key == REFUSED_KEY:
        raise bad_key()
    return key


async def meet_faults(
    request: web.Request, account: Account, answer: Callable[[], Awaitable[web.Response]]
) -> web.StreamResponse:
    """Serve the call, with the faults of its header and of its account's plan."""
    try:
        faults = parse(request.headers.get("x-sandbox-fault", ""))
    except UnknownFault as unknown:
        raise invalid(f"unknown sandbox fault '{unknown}'") from None
    faults = faults or account.plan.next(request.method, request.path)
    request[FAULTS] = faults
    for fault in faults:
        if (spoiled := await _before(request, fault)) is not None:
            return spoiled
    response = await _or_error(answer)
    for fault in faults:
        # Whatever is sent already is the end of it.
        if (sent := await _after(request, fault, response)).prepared:
            return sent
    return response


async def _or_error(answer: Callable[[], Awaitable[web.Response]]) -> web.Response:
    try:
        return await answer()
    except HumeError as error:
        return error.response()


async def _before(request: web.Request, fault: Fault) -> web.Response | None:
    """What the fault answers instead of serving the call."""
    if fault.name == "delay":
        await asyncio.sleep(fault.value / 1000)
    elif fault.name == "silence":
        await asyncio.sleep(FOREVER_SECONDS)
    elif fault.name == "reset":
        abort(request)
        return web.Response()
    elif fault.name == "status":
        hint = {} if fault.after is None else {"retry-after": str(fault.after)}
        raise refusal(fault.value, "the service is not available for this request", headers=hint)
    elif fault.name == "empty":
        return web.Response(status=fault.value)
    elif fault.name == "html":
        return web.Response(status=fault.value, text="<html><body>Bad Gateway</body></html>", content_type="text/html")
    elif fault.name == "null":
        return json_response(None)
    return None


async def _after(request: web.Request, fault: Fault, response: web.Response) -> web.StreamResponse:
    """What becomes of the answer to a call that was served."""
    if fault.name == "lost":
        abort(request)
    elif fault.name == "lost-silence":
        await asyncio.sleep(FOREVER_SECONDS)
    elif fault.name == "truncated":
        await _cut(request, response)
    elif fault.name == "slow":
        return await _trickle(request, response, fault.value / 1000)
    return response


async def _trickle(request: web.Request, response: web.Response, seconds: float) -> web.StreamResponse:
    """Send the headers, then the body in tenths, `seconds` before each."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    slow = web.StreamResponse(status=response.status, headers=headers)
    await slow.prepare(request)
    tenth = max(1, -(-len(body) // 10))
    for start in range(0, len(body), tenth):
        await asyncio.sleep(seconds)
        await slow.write(body[start : start + tenth])
    return slow


async def _cut(request: web.Request, response: web.Response) -> None:
    """Send the headers of the whole answer and half of its body, then close."""
    body = response.body if isinstance(response.body, bytes) and response.body else b"{}"
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    half = web.StreamResponse(status=200, headers=headers)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()

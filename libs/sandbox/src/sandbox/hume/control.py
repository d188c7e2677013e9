"""The control routes of the Hume stand-in: an account as a test wants it, and webhooks on demand."""

import random
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.accounts import ACCOUNTS, TOKEN_SECONDS, Account
from sandbox.hume.errors import HumeError, invalid, json_response
from sandbox.hume.faults import Plan, Planned, UnknownFault, parse
from sandbox.hume.webhooks import send


def routes() -> list[web.RouteDef]:
    """The control routes."""
    return [
        web.get("/sandbox/hume/accounts/{key}", look),
        web.put("/sandbox/hume/accounts/{key}", _answered(arrange)),
        web.delete("/sandbox/hume/accounts/{key}", drop),
        web.post("/sandbox/hume/webhooks", _answered(send)),
    ]


def _answered(answer: Any) -> Any:
    async def handle(request: web.Request) -> web.Response:
        try:
            response: web.Response = await answer(request)
        except orjson.JSONDecodeError:
            return invalid("the body is not valid JSON").response()
        except HumeError as error:
            return error.response()
        return response

    return handle


async def look(request: web.Request) -> web.Response:
    """Totals of one account."""
    return json_response(request.app[ACCOUNTS].of(request.match_info["key"]).summary())


async def drop(request: web.Request) -> web.Response:
    """Forget one account with everything in it."""
    request.app[ACCOUNTS].drop(request.match_info["key"])
    return web.Response(status=204)


async def arrange(request: web.Request) -> web.Response:
    """Set how an account's later requests fare; what is left out goes back to normal. What it owns stays.

    Body: `faults` [{do, times? (1; null: for good), method?, path?}], `mood` {seed, share}, `duplicates` "allow" or
    "refuse", `token_seconds`, `batch_seconds` (null: a job of measurement moves on as it is looked at).
    """
    order = orjson.loads(await request.read() or b"{}")
    account: Account = request.app[ACCOUNTS].of(request.match_info["key"])
    mood = order.get("mood") or {}
    plan = Plan(share=float(mood.get("share", 0)), dice=random.Random(mood.get("seed", 0)))
    plan.planned.extend(_planned(each) for each in order.get("faults", []))
    account.plan = plan
    account.duplicates = order.get("duplicates") == "allow"
    account.token_seconds = int(order.get("token_seconds", TOKEN_SECONDS))
    seconds = order.get("batch_seconds")
    account.batch_seconds = None if seconds is None else float(seconds)
    return json_response(account.summary())


def _planned(order: dict[str, Any]) -> Planned:
    try:
        faults = parse(str(order.get("do", "")))
    except UnknownFault as unknown:
        raise invalid(f"unknown sandbox fault '{unknown}'") from None
    return Planned(faults, order.get("times", 1), order.get("method", ""), order.get("path", ""))

"""API keys over HTTP: an organisation's admins manage its keys, the operator's admins those of all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal

import structlog
from aiohttp import web
from pydantic import BaseModel, Field, model_validator

from common.failures import Refused
from common.storage.key_budgets import NANOS
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import not_found, response_to
from gateway.http.fields import MAX_INT, Name, Query, Strict, Whole
from gateway.http.idempotency import request_name
from gateway.http.validation import read_query, validate
from gateway.keys.api_key import KEY_ID, IssuedKey
from gateway.keys.first_admin import OPERATOR
from gateway.keys.keyring import Keys, already_created
from gateway.ports import BudgetLimits, Caller, KeyLimits, KeyRecord, Scope

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 16 * 1024
# Beyond what anybody spends; the counts stay whole numbers that the store holds exactly.
MAX_BUDGET_TOKENS = 1_000_000_000_000
MAX_BUDGET_USD = 1_000_000.0
TEN_YEARS = 10 * 366 * 24 * 3600
THIRTY_DAYS = 30 * 24 * 3600
# Past what the database is waited for; a gateway that died meanwhile keeps an idempotency key this long.
MAKING_SECONDS = 20.0

# Makes a key for the request of this name, None for one that has none.
Make = Callable[[bytes | None], Awaitable[IssuedKey]]

Limit = Annotated[int, Field(ge=1, le=MAX_INT), Whole]
# It becomes part of keys and labels everywhere.
Organization = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class BudgetBody(Strict):
    """What a key may spend in a day or a month of UTC: tokens, USD, or both."""

    period: Literal["day", "month"] = "month"
    tokens: Annotated[int, Field(ge=1, le=MAX_BUDGET_TOKENS), Whole] | None = None
    usd: Annotated[float, Field(gt=0, le=MAX_BUDGET_USD, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "BudgetBody":
        if self.tokens is None and self.usd is None:
            raise ValueError("must have tokens or usd")
        return self


class LimitsBody(Strict):
    """Limits of a key; null is no limit."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_streams: Limit | None = None
    budget: BudgetBody | None = Field(default=None, exclude_if=lambda budget: budget is None)

    def limits(self) -> KeyLimits:
        """The same as it is stored."""
        budget = None if self.budget is None else BudgetLimits(**self.budget.model_dump())
        return KeyLimits(self.requests_per_minute, self.tokens_per_minute, self.concurrent_streams, budget)

    @classmethod
    def shown(cls, limits: KeyLimits) -> "LimitsBody":
        """Stored limits as the API shows them."""
        stored = limits.budget
        budget = None if stored is None else BudgetBody(period=stored.period, tokens=stored.tokens, usd=stored.usd)
        return cls(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_streams=limits.concurrent_streams,
            budget=budget,
        )


class NewKey(Strict):
    """A key to be made. `organization` is the caller's own if left out; `expires_in` is in seconds."""

    name: Name
    organization: Organization | None = None
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(fail_fast=True)] = Field(
        default=[Scope.CHAT], min_length=1, max_length=len(Scope)
    )
    limits: LimitsBody = LimitsBody()
    expires_in: Annotated[int, Field(ge=1, le=TEN_YEARS), Whole] | None = None


class Rotation(Strict):
    """How long the old key stays valid beside the new one, in seconds."""

    overlap: Annotated[int, Field(ge=0, le=THIRTY_DAYS), Whole] = 3600


class KeysQuery(Query):
    """Which keys to list: newest first, behind the key with the id `after`."""

    organization: Organization | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[str, Field(pattern=rf"^{KEY_ID.pattern}$")] | None = None


class Key(BaseModel):
    """An API key without its text. Times are unix seconds."""

    id: str
    name: str
    organization: str
    scopes: list[Scope]
    limits: LimitsBody
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class BudgetUse(BaseModel):
    """What a key has spent of its budget, running answers included. `ends_at` is in unix seconds."""

    period: str
    ends_at: int
    tokens: int
    usd: float
    limit_tokens: int | None
    limit_usd: float | None
    exhausted: bool


class CreatedKey(Key):
    """A new key with its text, which is shown this once."""

    key: str


class KeyList(BaseModel):
    """A page of keys."""

    data: list[Key]
    has_more: bool


async def create_key(request: web.Request) -> web.Response:
    """`POST /v1/admin/keys`."""
    keys, caller = _context(request)
    body = validate(NewKey, await read_json(request, max_bytes=MAX_BODY_BYTES))
    org_id = _managed(caller, body.organization) or caller.org_id
    limits = body.limits.limits()

    async def make(made_by: bytes | None) -> IssuedKey:
        scopes = frozenset(body.scopes)
        issued = await keys.create(body.name, org_id, scopes, limits, body.expires_in, made_by=made_by)
        log.info("key created", key_id=issued.record.id, organization=org_id, by=caller.key_id)
        return issued

    return await _once(request, body, make)


async def list_keys(request: web.Request) -> web.Response:
    """`GET /v1/admin/keys`."""
    keys, caller = _context(request)
    query = read_query(request, KeysQuery)
    found, more = await keys.list(_managed(caller, query.organization), query.limit, query.after)
    return _answer(KeyList(data=[_shown(record) for record in found], has_more=more))


async def revoke_key(request: web.Request) -> web.Response:
    """`DELETE /v1/admin/keys/{key_id}`."""
    keys, caller = _context(request)
    record = await keys.revoke(request.match_info["key_id"], _managed(caller))
    log.info("key revoked", key_id=record.id, organization=record.org_id, by=caller.key_id)
    return _answer(_shown(record))


async def read_budget(request: web.Request) -> web.Response:
    """`GET /v1/admin/keys/{key_id}/budget`."""
    keys, caller = _context(request)
    record = await keys.find(request.match_info["key_id"], _managed(caller))
    budget = record.budget
    if budget is None:
        raise not_found("This API key has no budget.", "key_id", "no_budget")
    period, spent = await request.app[DEPS].budgets.look(record.org_id, budget)
    return _answer(
        BudgetUse(
            period=period.name,
            ends_at=period.end,
            tokens=spent.tokens,
            usd=spent.nanos / NANOS,
            limit_tokens=budget.tokens,
            limit_usd=budget.usd,
            exhausted=spent.exhausts(budget),
        )
    )


async def rotate_key(request: web.Request) -> web.Response:
    """`POST /v1/admin/keys/{key_id}/rotate`."""
    keys, caller = _context(request)
    body = validate(Rotation, await read_json(request, max_bytes=MAX_BODY_BYTES))
    old = request.match_info["key_id"]

    async def make(made_by: bytes | None) -> IssuedKey:
        issued = await keys.rotate(old, body.overlap, _managed(caller), made_by=made_by)
        log.info("key rotated", key_id=old, new=issued.record.id, by=caller.key_id)
        return issued

    return await _once(request, body, make)


async def _once(request: web.Request, body: BaseModel, make: Make) -> web.Response:
    """Make a key, and no second one for the same `Idempotency-Key`."""
    # A caller who leaves, as those do who come again, does not end it half way.
    return await asyncio.shield(asyncio.create_task(_guarded(request, body, make), name="make-key"))


async def _guarded(request: web.Request, body: BaseModel, make: Make) -> web.Response:
    idempotency, content = request.app[DEPS].idempotency, body.model_dump_json().encode()
    async with idempotency.guard(request, request[CALLER], content, lease=MAKING_SECONDS) as slot:
        if slot.replay is not None:
            return slot.replay
        # Stored with the key itself: the slot may be lost with this process, or with the store.
        issued = await make(request_name(request, request[CALLER]))
        await slot.store(response_to(already_created(issued.record.id)))
        return _created(issued)


def _context(request: web.Request) -> tuple[Keys, Caller]:
    return request.app[DEPS].keys, request[CALLER]


def _managed(caller: Caller, organization: str | None = None) -> str | None:
    """The organisation a request is about, None for all; raises Refused 403 for one the caller does not manage."""
    if caller.org_id == OPERATOR:
        return organization
    if organization in (None, caller.org_id):
        return caller.org_id
    message = f"This API key manages the keys of '{caller.org_id}' only."
    raise Refused(403, message, "foreign_organization", "organization", "permission_error")


def _shown(record: KeyRecord) -> Key:
    """A stored key as the API shows it."""
    return Key(
        id=record.id,
        name=record.name,
        organization=record.org_id,
        scopes=[Scope(scope) for scope in sorted(record.scopes)],
        limits=LimitsBody.shown(record.limits),
        created_at=int(record.created_at.timestamp()),
        expires_at=_unix(record.expires_at),
        revoked_at=_unix(record.revoked_at),
        last_used_at=_unix(record.last_used_at),
    )


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _created(issued: IssuedKey) -> web.Response:
    response = _answer(CreatedKey(**_shown(issued.record).model_dump(), key=issued.key), status=201)
    response.headers["cache-control"] = "no-store"
    return response


def _answer(body: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body.model_dump_json().encode(), content_type="application/json")

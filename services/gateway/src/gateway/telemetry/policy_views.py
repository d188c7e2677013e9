"""What is to be kept: policies, prices, and users who are to be deleted."""

import time
import uuid
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from common.events.documents import DOCUMENTS_FORGET_REQUESTED, DocumentsForgetRequested
from common.events.envelope import Event
from common.events.interaction_items import Moment
from common.events.interaction_queries import (
    POLICY_CHANGE_REQUESTED,
    POLICY_REQUESTED,
    PRICE_CHANGE_REQUESTED,
    PRICE_LIST_REQUESTED,
    USER_DELETION_GET,
    USER_DELETION_REQUESTED,
    PolicyChangeRequested,
    PolicyRequested,
    PriceChangeRequested,
    PriceListRequested,
    UserDeletionGet,
    UserDeletionRequested,
)
from common.events.telemetry_policy import TelemetryPolicy
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import bad_request, not_found
from gateway.http.fields import Strict, Whole
from gateway.http.validation import validate
from gateway.ports import Caller

MAX_BODY_BYTES = 128 * 1024
MAX_USER_ID = 256
# In the year 2100 nobody knows the prices.
MAX_SECONDS = 4_102_444_800.0

Dollars = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class TelemetryPolicyBody(Strict):
    """A policy; with the `revision` that it replaces, one that was changed meanwhile stays."""

    policy: TelemetryPolicy
    revision: Annotated[int, Field(ge=0, le=2**53), Whole] | None = None


class PriceBody(Strict):
    """US dollars for a million tokens of a model, from a moment on."""

    model: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
    valid_from: Annotated[Moment, Field(ge=0, le=MAX_SECONDS)]
    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None


def _caller(request: web.Request) -> dict[str, str]:
    caller: Caller = request[CALLER]
    return {"org_id": caller.org_id, "key_id": caller.key_id}


async def _body(request: web.Request) -> dict[str, Any]:
    return await read_json(request, max_bytes=MAX_BODY_BYTES)


async def show_policy(request: web.Request) -> web.Response:
    """`GET /v2/telemetry/policy`."""
    wanted = PolicyRequested(org_id=request[CALLER].org_id)
    return await request.app[DEPS].request_reply.query(POLICY_REQUESTED, wanted)


async def change_policy(request: web.Request) -> web.Response:
    """`PUT /v2/telemetry/policy`."""
    body = validate(TelemetryPolicyBody, await _body(request))
    policy = body.policy.model_dump(mode="json")
    wanted = PolicyChangeRequested(**_caller(request), policy=policy, revision=body.revision)
    return await request.app[DEPS].request_reply.query(POLICY_CHANGE_REQUESTED, wanted)


async def list_prices(request: web.Request) -> web.Response:
    """`GET /v2/telemetry/prices`."""
    wanted = PriceListRequested(org_id=request[CALLER].org_id)
    return await request.app[DEPS].request_reply.query(PRICE_LIST_REQUESTED, wanted)


async def change_price(request: web.Request) -> web.Response:
    """`PUT /v2/telemetry/prices`."""
    body = validate(PriceBody, await _body(request))
    wanted = PriceChangeRequested(**_caller(request), **body.model_dump())
    return await request.app[DEPS].request_reply.query(PRICE_CHANGE_REQUESTED, wanted)


async def delete_user(request: web.Request) -> web.Response:
    """`DELETE /v2/users/{user_id}`."""
    user_id = request.match_info["user_id"]
    if len(user_id) > MAX_USER_ID or "\0" in user_id:
        raise bad_request("Invalid 'user_id'.", "user_id", "invalid_value")
    deps = request.app[DEPS]
    own = DocumentsForgetRequested(org_id=request[CALLER].org_id, user_id=user_id, at=time.time())
    await deps.log.publish(Event(DOCUMENTS_FORGET_REQUESTED, own).record())
    sealed = deps.secrets.seal_name(user_id, request[CALLER].org_id)
    wanted = UserDeletionRequested(**_caller(request), deletion_id=str(uuid.uuid4()), user_id=sealed)
    return await deps.request_reply.query(USER_DELETION_REQUESTED, wanted)


async def show_deletion(request: web.Request) -> web.Response:
    """`GET /v2/deletions/{deletion_id}`."""
    try:
        id = str(uuid.UUID(request.match_info["deletion_id"]))
    except ValueError:
        raise not_found("There is no such deletion.", "deletion_id", "deletion_not_found") from None
    wanted = UserDeletionGet(org_id=request[CALLER].org_id, deletion_id=id)
    return await request.app[DEPS].request_reply.query(USER_DELETION_GET, wanted)

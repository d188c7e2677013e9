"""Interactions, steps and scores over HTTP."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from common.events.interaction_items import (
    MAX_BATCH_BYTES,
    MAX_ITEM_BYTES,
    MAX_ITEMS,
    Mode,
    Moment,
    Name,
    Short,
)
from common.failures import Refused
from gateway.deps import DEPS
from gateway.http import errors
from gateway.http.body import WITH_ZSTD, read_body
from gateway.http.context import BODY_BYTES, CALLER
from gateway.http.json_bounds import MAX_DEPTH, check_depth, load
from gateway.http.large_bodies import LARGE_BYTES, step
from gateway.http.validation import validate
from gateway.ingest.item_check import sort_out
from gateway.ingest.item_results import InteractionAccepted, ScoreAccepted, Sorted
from gateway.ingest.item_split import split_batch
from gateway.metrics import INGEST_ITEMS

ITEMS = "items"


class BatchBody(BaseModel):
    """At most 1,000 interactions, and `step` and `score` items beside them, each with a result of its own.

    `org_id` and `mode` hold for items without their own.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    items: Annotated[list[Any], Field(fail_fast=True)]
    org_id: str | None = None
    mode: Mode | None = None


class ScoreBody(BaseModel):
    """What somebody, or something, thinks of an interaction."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)]
    value: bool | float | Annotated[str, Field(max_length=1000)]
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    source: Short | None = None
    user_id: Name | None = None
    timestamp: Moment | None = None
    metadata: dict[str, Any] | None = None


async def store_generated_response(request: web.Request) -> web.Response:
    """`POST /v2/chatgpt/store_generated_response`."""
    body = await _read_object(request, MAX_ITEM_BYTES)
    if body.setdefault("kind", "interaction") != "interaction":
        raise errors.bad_request("Invalid 'kind': this is the path of interactions.", "kind", "invalid_value")
    id, batch_id = await _accept_one(request, body)
    return _json(InteractionAccepted(id=id, batch_id=batch_id))


async def score_interaction(request: web.Request) -> web.Response:
    """`POST /v2/interactions/{id}/scores`."""
    body = await _read_object(request, MAX_ITEM_BYTES)
    about = {"kind": "score", "interaction_id": request.match_info["interaction_id"]}
    id, batch_id = await _accept_one(request, {**body, **about})
    return _json(ScoreAccepted(id=id, batch_id=batch_id), status=202)


async def store_batch(request: web.Request) -> web.Response:
    """`POST /v2/interactions:batch`."""
    deps, caller = request.app[DEPS], request[CALLER]
    deps.acceptance.check(caller.org_id)
    place = deps.large_bodies.place(caller.org_id)
    try:
        body = await read_body(request, MAX_BATCH_BYTES, place, encodings=WITH_ZSTD)
        size = request[BODY_BYTES] = len(body)
        if size >= LARGE_BYTES:
            await place.weigh(body)
        async with step(size):
            outer, items = await _taken_apart(body)
        async with step(size):
            found = sort_out(
                items, caller.org_id, time.time(), defaults=_defaults(outer), measured=size > MAX_ITEM_BYTES
            )
        del body, items
        batch_id = await accept(request, found)
    finally:
        place.leave()
    told = {
        "batch_id": batch_id,
        "accepted": len(found.accepted),
        "rejected": len(found.results) - len(found.accepted),
        "results": found.results,
    }
    return web.Response(body=orjson.dumps(told), content_type="application/json")


async def accept(request: web.Request, found: Sorted) -> str | None:
    """Put what was found on the log; the id of the batch, None where there is nothing to accept."""
    rejected = len(found.results) - len(found.accepted)
    if rejected:
        INGEST_ITEMS.labels("rejected").inc(rejected)
    if not found.accepted:
        return None
    caller = request[CALLER]
    return await request.app[DEPS].acceptance.accept(found, caller.org_id, caller.key_id)


async def _taken_apart(body: bytes) -> tuple[Mapping[str, Any], list[Any]]:
    """What stands beside the items, and the items; raises Refused 400 or 413."""
    try:
        outer: dict[str, Any] = load(body, max_depth=MAX_DEPTH)
        check_depth(body)
    except Refused:
        # One item that cannot be read says nothing about the others.
        apart = await asyncio.to_thread(split_batch, body, ITEMS.encode(), MAX_DEPTH)
        if apart is None:
            raise
        outer, found = apart
        items: Any = found
    else:
        items = outer.get(ITEMS)
    if not isinstance(items, list):
        raise errors.bad_request("A list of 'items' is expected.", ITEMS, "missing_required_parameter")
    if len(items) > MAX_ITEMS:
        raise Refused(413, f"At most {MAX_ITEMS} items are taken at once.", "too_many_items", ITEMS)
    return outer, items


def _defaults(outer: Mapping[str, Any]) -> dict[str, Any]:
    beside = validate(BatchBody, {"items": [], **{name: outer.get(name) for name in ("org_id", "mode")}})
    return {name: value for name, value in (("org_id", beside.org_id), ("mode", beside.mode)) if value is not None}


async def _read_object(request: web.Request, max_bytes: int) -> dict[str, Any]:
    deps, caller = request.app[DEPS], request[CALLER]
    deps.acceptance.check(caller.org_id)
    place = deps.large_bodies.place(caller.org_id)
    try:
        body = await read_body(request, max_bytes, place, encodings=WITH_ZSTD)
        request[BODY_BYTES] = len(body)
        async with step(len(body)):
            value = load(body, max_depth=MAX_DEPTH)
            check_depth(body)
    finally:
        place.leave()
    return value


async def _accept_one(request: web.Request, item: Mapping[str, Any]) -> tuple[str, str]:
    """Its id and that of its batch; raises Refused where the item is not accepted."""
    async with step(request[BODY_BYTES]):
        found = sort_out([item], request[CALLER].org_id, time.time(), defaults={}, measured=False, within="")
    batch_id = await accept(request, found)
    [result] = found.results
    if batch_id is None:
        error = result["error"]
        raise Refused(result["status"], error["message"], error["code"], error["param"])
    return result["id"], batch_id


def _json(body: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body.model_dump_json().encode(), content_type="application/json")

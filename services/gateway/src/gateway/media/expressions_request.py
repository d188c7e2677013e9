"""Expression measurement asked for: of an asset, of a URL, or of the file in the body."""

import uuid
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, model_validator

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_ID,
    ASSET_KIND,
    ASSET_RECORD_REQUESTED,
    AssetDeleteRequested,
    new_asset_id,
)
from common.events.expressions import EXPRESSIONS_KIND, MAX_URL, ExpressionModel, ExpressionsInput
from common.failures import Refused
from common.storage.objects import object_key
from gateway.assets.upload import received
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import bad_request
from gateway.http.fields import Query, Strict
from gateway.http.idempotency import request_name
from gateway.http.request_reply import COMMAND_SECONDS
from gateway.http.validation import read_query, validate
from gateway.media.jobs import accept

MAX_BODY_BYTES = 64 * 1024
MAX_MODELS = 6
JSON = "application/json"
# Names the assets that idempotency keys stand for.
UPLOADS = uuid.UUID("b0a1a5b8-2f43-4a8e-9a53-6d0f6d7c1e02")


class ExpressionsBody(Strict):
    """What is to be measured: `asset_id` or `url`, one of them."""

    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=r"^https?://[^\x00-\x20]+$")] | None = None
    models: Annotated[list[ExpressionModel], Field(default_factory=list, max_length=MAX_MODELS, fail_fast=True)]
    interval: Annotated[float, Field(ge=3, le=10)] = 5.0
    frames_per_second: Annotated[float, Field(gt=0, le=5)] = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.asset_id is None) is (self.url is None):
            raise ValueError("either 'asset_id' or 'url' is needed")
        return self


class ExpressionsQuery(Query):
    """The same for a file in the body; `models` are separated by commas."""

    name: Annotated[str, Field(max_length=1000)] = ""
    models: Annotated[str, Field(max_length=200)] = ""
    interval: Annotated[float, Field(ge=3, le=10)] = 5.0
    frames_per_second: Annotated[float, Field(gt=0, le=5)] = 1.0

    def wanted(self) -> ExpressionsBody:
        """What a body would say; raises Refused 400 for a model that is not known."""
        models = [model.strip() for model in self.models.split(",") if model.strip()]
        rest = {"interval": self.interval, "frames_per_second": self.frames_per_second}
        # Any asset: which one it is, is known once it is there.
        return validate(ExpressionsBody, {"asset_id": new_asset_id(), "models": models, **rest})


async def create_expressions(request: web.Request) -> web.Response:
    """`POST /v1/media/expressions`: JSON that names a file, or the file itself."""
    query = read_query(request, ExpressionsQuery)
    if request.content_type == JSON:
        body = validate(ExpressionsBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
        return await accept(request, EXPRESSIONS_KIND, _input(body))
    return await _of_upload(request, query)


async def _of_upload(request: web.Request, query: ExpressionsQuery) -> web.Response:
    """The file becomes an asset first. A repetition under one idempotency key is the same asset, and the same job."""
    deps, caller, wanted = request.app[DEPS], request[CALLER], query.wanted()
    first_id = new_asset_id()
    async with received(request, first_id) as file:
        if file.upload.fields:
            raise bad_request("A form has one 'file' here; everything else stands in the query.", "file")
        asset_id = _asset_id(request, f"{file.written.sha256}\n{query.model_dump_json()}") or first_id
        if asset_id != first_id:
            await deps.objects.move(*(object_key(ASSET_KIND, caller.org_id, id) for id in (first_id, asset_id)))
        command = file.as_asset(caller, asset_id, query.name or file.upload.name, None)
        await deps.request_reply.ask(ASSET_RECORD_REQUESTED, command, timeout=COMMAND_SECONDS)
        try:
            return await accept(request, EXPRESSIONS_KIND, _input(wanted.model_copy(update={"asset_id": asset_id})))
        except Refused as refused:
            # Of a repetition it may be the file of a job that is under way.
            if refused.status < 500 and asset_id == first_id:
                gone = AssetDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=asset_id)
                await deps.request_reply.ask(ASSET_DELETE_REQUESTED, gone, timeout=COMMAND_SECONDS)
            raise


def _asset_id(request: web.Request, wanted: str) -> str | None:
    """Of one idempotency key and one file always the same; None without a key."""
    name = request_name(request, request[CALLER])
    return None if name is None else f"ast_{uuid.uuid5(UPLOADS, name.hex() + wanted).hex}"


def _input(body: ExpressionsBody) -> ExpressionsInput:
    return ExpressionsInput(
        asset_id=body.asset_id,
        url=body.url,
        models=tuple(dict.fromkeys(body.models)),
        interval=body.interval,
        frames_per_second=body.frames_per_second,
    )

"""A job about the file in the body of its request: the file becomes an asset first."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_KIND,
    ASSET_RECORD_REQUESTED,
    AssetDeleteRequested,
    new_asset_id,
)
from common.failures import Refused
from common.storage.objects import object_key
from gateway.assets.upload import received
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import bad_request
from gateway.http.idempotency import request_name
from gateway.http.request_reply import COMMAND_SECONDS
from gateway.media.jobs import accept

# Names the assets that idempotency keys stand for.
UPLOADS = uuid.UUID("b0a1a5b8-2f43-4a8e-9a53-6d0f6d7c1e02")


@dataclass(frozen=True, slots=True)
class UploadedInput:
    """What is to be done with the file: `of` makes the input of the job, from the asset's id and the file's name.

    `name` is what the caller calls it; `said` is all else that the caller says, for the idempotency key.
    """

    name: str
    said: str
    of: Callable[[str, str], BaseModel]


async def accept_upload(request: web.Request, kind: str, wanted: UploadedInput) -> web.Response:
    """202 with the job. A repetition under one idempotency key is the same asset, and the same job.

    Raises Refused as `received` and `accept`, and 400 for a form with more than the file.
    """
    deps, caller = request.app[DEPS], request[CALLER]
    first_id = new_asset_id()
    async with received(request, first_id) as file:
        if file.upload.fields:
            raise bad_request("A form has one 'file' here; everything else stands in the query.", "file")
        asset_id = _asset_id(request, f"{file.written.sha256}\n{wanted.said}") or first_id
        if asset_id != first_id:
            await deps.objects.move(*(object_key(ASSET_KIND, caller.org_id, id) for id in (first_id, asset_id)))
        command = file.as_asset(caller, asset_id, wanted.name or file.upload.name, None)
        await deps.request_reply.ask(ASSET_RECORD_REQUESTED, command, timeout=COMMAND_SECONDS)
        try:
            return await accept(request, kind, wanted.of(asset_id, command.name))
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

"""A job about the file in the body: the file becomes an asset first, and both stand or fall together."""

import uuid
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

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


class UploadName(NamedTuple):
    """How the asset is found again: `names` is the route's own, `wanted` all that is asked about the file."""

    names: uuid.UUID
    file_name: str
    wanted: str


async def with_upload(
    request: web.Request, name: UploadName, begin: Callable[[str, str], Awaitable[web.Response]]
) -> web.Response:
    """What `begin` answers about the asset of this id and name. A repetition under one idempotency key is the same asset, and the same job.

    Raises Refused; where `begin` is refused, the asset goes again.
    """
    deps, caller, first_id = request.app[DEPS], request[CALLER], new_asset_id()
    async with received(request, first_id) as file:
        if file.upload.fields:
            raise bad_request("A form has one 'file' here; everything else stands in the query.", "file")
        asset_id = _asset_id(request, name, file.written.sha256) or first_id
        if asset_id != first_id:
            await deps.objects.move(*(object_key(ASSET_KIND, caller.org_id, id) for id in (first_id, asset_id)))
        command = file.as_asset(caller, asset_id, name.file_name or file.upload.name, None)
        await deps.request_reply.ask(ASSET_RECORD_REQUESTED, command, timeout=COMMAND_SECONDS)
        try:
            return await begin(asset_id, command.name)
        except Refused as refused:
            # Of a repetition it may be the file of a job that is under way.
            if refused.status < 500 and asset_id == first_id:
                gone = AssetDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=asset_id)
                await deps.request_reply.ask(ASSET_DELETE_REQUESTED, gone, timeout=COMMAND_SECONDS)
            raise


def _asset_id(request: web.Request, name: UploadName, sha256: str) -> str | None:
    """Of one idempotency key and one file always the same; None without a key."""
    key = request_name(request, request[CALLER])
    if key is None:
        return None
    wanted = f"{sha256}\n{name.wanted}"
    return f"ast_{uuid.uuid5(name.names, key.hex() + wanted).hex}"

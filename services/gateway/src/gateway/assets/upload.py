"""`POST /v1/assets`: a file goes into the object store as it comes, and media makes an asset of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.assets import (
    ASSET_KIND,
    ASSET_RECORD_REQUESTED,
    AssetInfo,
    AssetRecordRequested,
    file_name,
    new_asset_id,
)
from common.events.reply import Reply
from common.failures import Refused
from common.storage.content_type import content_type
from common.storage.objects import ObjectTooLarge, Written, object_key
from gateway.assets.upload_body import FORM_FIELDS, Upload, file_chunks
from gateway.deps import DEPS
from gateway.http import errors
from gateway.http.context import CALLER
from gateway.http.fields import Query
from gateway.http.request_reply import COMMAND_SECONDS, answer
from gateway.http.validation import read_query, validate
from gateway.metrics import ASSET_BYTES_RECEIVED
from gateway.ports import Caller

# What a form adds to its file.
FORM_BYTES = 64 * 1024
MAX_KEEP_SECONDS = 10 * 366 * 86400
LEASE_SECONDS = COMMAND_SECONDS + 5.0


class UploadQuery(Query):
    """Beside the file, in the query or the form: what it is called, and how many seconds it is kept."""

    name: Annotated[str, Field(max_length=1000)] | None = None
    expires_in: Annotated[int, Field(ge=1, le=MAX_KEEP_SECONDS)] | None = None


async def upload(request: web.Request) -> web.Response:
    """`POST /v1/assets`: the body, or the field `file` of a form."""
    query = read_query(request, UploadQuery)
    asset_id = new_asset_id()
    async with received(request, asset_id) as file:
        fields = validate(UploadQuery, file.upload.fields)
        name = query.name or fields.name or file.upload.name
        wanted = file.as_asset(request[CALLER], asset_id, name, query.expires_in or fields.expires_in)
        return await _recorded(request, wanted)


@dataclass(frozen=True, slots=True)
class Received:
    """A file that is in the object store, and what came with it."""

    written: Written
    upload: Upload

    def as_asset(self, caller: Caller, asset_id: str, name: str, keep_seconds: int | None) -> AssetRecordRequested:
        """The command that makes it an asset."""
        return AssetRecordRequested(
            org_id=caller.org_id,
            key_id=caller.key_id,
            id=asset_id,
            content_type=content_type(self.written.head),
            size=self.written.size,
            sha256=self.written.sha256,
            name=file_name(name),
            keep_seconds=keep_seconds,
        )


@asynccontextmanager
async def received(
    request: web.Request, asset_id: str, fields: frozenset[str] = FORM_FIELDS
) -> AsyncIterator[Received]:
    """Take the file of a request into the object store, under this id; `fields` may stand in its form beside it.

    What is refused inside for sure has no row and gets none: its bytes go. All else is left to the sweep of media.
    """
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    key, upload = object_key(ASSET_KIND, org_id, asset_id), Upload(known=fields)
    place = deps.uploads.place(org_id)
    await place.enter()
    try:
        written = await _written(request, key, upload)
    finally:
        place.leave()
    try:
        yield Received(written, upload)
    except Refused as refused:
        if refused.status < 500:
            await deps.objects.delete(key)
        raise


async def _written(request: web.Request, key: str, upload: Upload) -> Written:
    deps = request.app[DEPS]
    max_bytes = deps.settings.max_asset_bytes
    if (request.content_length or 0) > max_bytes + FORM_BYTES:
        raise errors.too_large(max_bytes)
    clock = asyncio.timeout(deps.settings.upload_seconds)
    try:
        async with clock:
            written = await deps.objects.write(key, file_chunks(request, upload), max_bytes=max_bytes)
    except ObjectTooLarge:
        raise errors.too_large(max_bytes) from None
    except TimeoutError:
        if not clock.expired():
            raise
        raise Refused(408, "The file did not arrive in time.", "request_timeout") from None
    ASSET_BYTES_RECEIVED.inc(written.size)
    return written


async def _recorded(request: web.Request, wanted: AssetRecordRequested) -> web.Response:
    """The asset; a repetition under the same `Idempotency-Key` gets the first one, and its own file is taken away."""
    deps = request.app[DEPS]
    same = f"{wanted.sha256}\n{wanted.name}\n{wanted.keep_seconds}".encode()
    async with deps.idempotency.guard(request, request[CALLER], same, lease=LEASE_SECONDS) as slot:
        if slot.replay is not None:
            await deps.objects.delete(object_key(ASSET_KIND, wanted.org_id, wanted.id))
            return slot.replay
        reply: Reply[AssetInfo] = await deps.request_reply.ask(ASSET_RECORD_REQUESTED, wanted, timeout=COMMAND_SECONDS)
        response = answer(reply)
        await slot.store(response)
        return response

"""`GET` and `HEAD` of an asset: whole, in parts, or not at all where the caller has it already."""

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated
from urllib.parse import quote

from aiohttp import hdrs, web
from pydantic import Field

from common.events.assets import ASSET_GET_REQUESTED, ASSET_KIND, AssetGetRequested, AssetInfo
from common.failures import Refused
from common.storage.objects import ObjectMissing, object_key
from gateway.assets.asset_views import asset_id_of
from gateway.assets.byte_ranges import ByteRange, wanted_ranges
from gateway.assets.signed_links import Link
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.fields import Flag, Query
from gateway.http.validation import read_query

# What a browser shows without running any of it; everything else it is to save.
SHOWN = ("audio/", "video/", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp")
# Were it shown all the same, it could do nothing.
NO_SCRIPTS = "default-src 'none'; sandbox"
ETAG = '"{sha256}"'
MAX_EXPIRES = 2**53


class DownloadQuery(Query):
    """`download=true` has a browser save the file in any case."""

    download: Flag = False


class LinkQuery(DownloadQuery):
    """What a link carries."""

    organization: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    expires: Annotated[int, Field(ge=0, le=MAX_EXPIRES)]
    signature: Annotated[str, Field(max_length=128)]


async def download(request: web.Request) -> web.StreamResponse:
    """`GET /v1/assets/{id}`: the bytes of an asset of the caller's organisation."""
    query = read_query(request, DownloadQuery)
    return await _send(request, request[CALLER].org_id, save=query.download)


async def download_by_link(request: web.Request) -> web.StreamResponse:
    """`GET /v1/assets/{id}/content`: the bytes, for whoever has a link to them that we made."""
    query = read_query(request, LinkQuery)
    save = query.download
    link = Link(query.organization, asset_id_of(request), query.expires, save)
    request.app[DEPS].links.check(link, query.signature, time.time())
    return await _send(request, query.organization, save=save)


async def _send(request: web.Request, org_id: str, *, save: bool) -> web.StreamResponse:
    asked = AssetGetRequested(org_id=org_id, id=asset_id_of(request))
    asset = (await request.app[DEPS].request_reply.ask(ASSET_GET_REQUESTED, asked)).body
    return await send_file(request, object_key(ASSET_KIND, org_id, asset.id), asset, save=save)


async def send_file(request: web.Request, key: str, asset: AssetInfo, *, save: bool) -> web.StreamResponse:
    """The object of a key, or the parts of it that are asked for. Raises Refused 404 and 416."""
    headers = _headers(asset, save=save)
    if _is_known(request.headers.get(hdrs.IF_NONE_MATCH), headers[hdrs.ETAG]):
        kept = (hdrs.ETAG, hdrs.CACHE_CONTROL)
        return web.Response(status=304, headers={name: headers[name] for name in kept})
    ranges = _ranges(request, asset, headers[hdrs.ETAG])
    if ranges == []:
        refused = Refused(416, "The file has none of these bytes.", "range_not_satisfiable", hdrs.RANGE)
        refused.headers = {hdrs.CONTENT_RANGE: f"bytes */{asset.size}", hdrs.ACCEPT_RANGES: "bytes"}
        raise refused
    return await _stream(request, key, asset, ranges, headers)


def _ranges(request: web.Request, asset: AssetInfo, etag: str) -> list[ByteRange] | None:
    """The parts to send; None for all of it, also where the caller has parts of something else."""
    condition = request.headers.get(hdrs.IF_RANGE)
    if request.method != hdrs.METH_GET or condition not in (None, etag):
        return None
    return wanted_ranges(request.headers.get(hdrs.RANGE), asset.size)


async def _stream(
    request: web.Request, key: str, asset: AssetInfo, ranges: list[ByteRange] | None, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=200 if ranges is None else 206, headers=headers)
    if ranges is None or len(ranges) == 1:
        part = ByteRange(0, asset.size) if ranges is None else ranges[0]
        if ranges is not None:
            response.headers[hdrs.CONTENT_RANGE] = part.content_range(asset.size)
        response.content_length = part.length
        chunks = request.app[DEPS].objects.read(key, part.start, part.end)
    else:
        boundary = secrets.token_hex(16)
        heads = _part_heads(asset, ranges, boundary)
        response.headers[hdrs.CONTENT_TYPE] = f"multipart/byteranges; boundary={boundary}"
        response.content_length = sum(map(len, heads)) + sum(part.length for part in ranges)
        chunks = _parts(request, key, ranges, heads)
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    async with aclosing(chunks):
        return await _written(request, response, chunks)


async def _written(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    try:
        # Before the head is sent: what is gone by now is a 404.
        first = await anext(chunks, b"")
    except ObjectMissing:
        raise not_found("The file is gone.", "id", "asset_not_found") from None
    await response.prepare(request)
    if first:
        await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


def _part_heads(asset: AssetInfo, ranges: Sequence[ByteRange], boundary: str) -> list[bytes]:
    """What stands before each part of a `multipart/byteranges`, and behind the last one."""
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {asset.content_type}\r\n"
        f"Content-Range: {part.content_range(asset.size)}\r\n\r\n"
        for part in ranges
    ]
    return [text.encode("ascii") for text in (*heads, f"\r\n--{boundary}--\r\n")]


async def _parts(
    request: web.Request, key: str, ranges: Sequence[ByteRange], heads: Sequence[bytes]
) -> AsyncGenerator[bytes, None]:
    for head, part in zip(heads, ranges, strict=False):
        async with aclosing(request.app[DEPS].objects.read(key, part.start, part.end)) as chunks:
            first = await anext(chunks, b"")
            yield head + first
            async for chunk in chunks:
                yield chunk
    yield heads[-1]


def _headers(asset: AssetInfo, *, save: bool) -> dict[str, str]:
    shown = asset.content_type.startswith(SHOWN) and not save
    return {
        hdrs.CONTENT_TYPE: asset.content_type,
        hdrs.CONTENT_DISPOSITION: content_disposition("inline" if shown else "attachment", asset.name or asset.id),
        hdrs.ETAG: ETAG.format(sha256=asset.sha256),
        hdrs.ACCEPT_RANGES: "bytes",
        # It never changes, and may be gone: whoever has it asks before it is used again.
        hdrs.CACHE_CONTROL: "private, no-cache",
        "content-security-policy": NO_SCRIPTS,
    }


def content_disposition(kind: str, name: str) -> str:
    """The header (RFC 6266): the name for old clients in ASCII, and as it is, percent-encoded, for all others."""
    plain = "".join(letter if " " <= letter <= "~" and letter not in '"\\%' else "_" for letter in name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_known(header: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names it: compared weakly, as the RFC has it."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags

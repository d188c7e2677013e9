"""Reading the body of a request: unpacked, and bounded in size and time."""

import asyncio
import time
from typing import Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from common.failures import Refused
from gateway.http import errors
from gateway.http.context import BODY_BYTES
from gateway.http.json_bounds import MAX_DEPTH, check_depth, load, parse_json
from gateway.http.large_bodies import LARGE_BYTES, BodyPlace, step

# What reading a body raises that is packed or sent wrongly.
UNREADABLE = (web.RequestPayloadError, HttpProcessingError)
# A body of the largest size takes this long on a slow line (about 1 Mbit/s); a client that trickles is cut off.
BODY_SECONDS = 30.0
# What the HTTP server can unpack without further packages.
ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
# A step of unpacking; others have the event loop for as long behind it.
UNPACKING_SECONDS = 0.004
# With the package backports.zstd, where Python has none; for routes that say so.
WITH_ZSTD = ENCODINGS | {"zstd"}


async def read_json(
    request: web.Request, *, max_bytes: int, max_depth: int = MAX_DEPTH, place: BodyPlace | None = None
) -> dict[str, Any]:
    """The JSON object in the body, at most `max_bytes` long (unpacked) and `max_depth` levels deep.

    With a `place` it is read on only once there is one, if it is large. Raises Refused: 413 too large, 415 packed in an
    unknown way, 503 no place, 400 anything else that is wrong with it.
    """
    body = await read_body(request, max_bytes, place)
    size = request[BODY_BYTES] = len(body)
    if size < LARGE_BYTES:
        return parse_json(body, max_depth=max_depth)
    if place is not None:
        await place.weigh(body)
    async with step(size):
        value = load(body, max_depth=max_depth)
    async with step(size):
        check_depth(body, max_depth)
    return value


async def read_body(
    request: web.Request, max_bytes: int, place: BodyPlace | None = None, *, encodings: frozenset[str] = ENCODINGS
) -> bytes:
    """The body, unpacked; raises Refused 413, 415, 408, 503 or 400."""
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding not in encodings:
        raise Refused(415, f"Content-Encoding {encoding!r} is not supported; use gzip.", "unsupported_encoding")
    if (request.content_length or 0) > max_bytes:
        raise errors.too_large(max_bytes)
    try:
        if request.content.is_eof():
            # The common case: it came together with the head, and needs no timer.
            return await _read_all(request, max_bytes, place)
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_all(request, max_bytes, place)
    except UNREADABLE:
        raise errors.bad_request("The request body could not be read.", code="invalid_body") from None
    except TimeoutError:
        raise Refused(408, "The request body did not arrive in time.", "request_timeout") from None


async def _read_all(request: web.Request, max_bytes: int, place: BodyPlace | None) -> bytes:
    content, pieces, size = request.content, list[bytes](), 0
    packed = hdrs.CONTENT_ENCODING in request.headers
    while piece := await content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise errors.too_large(max_bytes)
        if size > LARGE_BYTES:
            if place is not None:
                await place.enter()
            if packed:
                size = await _unpack(content, pieces, size, max_bytes)
    if len(pieces) < 2:
        return b"".join(pieces)
    async with step(size):
        return b"".join(pieces)


async def _unpack(content: StreamReader, pieces: list[bytes], size: int, max_bytes: int) -> int:
    """Read on as far as packets have come, which is where they are unpacked: the bytes there are now, `size` so far.

    Raises Refused 413.
    """
    more = True
    while more:
        async with step(LARGE_BYTES):
            ends = time.perf_counter() + UNPACKING_SECONDS
            while more and time.perf_counter() < ends:
                piece = content.read_nowait()
                more = bool(piece)
                pieces.append(piece)
                size += len(piece)
                if size > max_bytes:
                    raise errors.too_large(max_bytes)
    return size

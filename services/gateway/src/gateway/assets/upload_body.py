"""The file in the body of a request: the body itself, or the one file of a form, read as it comes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from common.failures import Refused
from gateway.http.body import ENCODINGS, UNREADABLE
from gateway.http.errors import bad_request

# Between two pieces of a body.
IDLE_SECONDS = 30.0
PIECE_BYTES = 64 * 1024
MAX_FIELDS = 8
MAX_FIELD_BYTES = 1024
FORM_FIELDS = frozenset({"name", "expires_in"})
FILE = "file"
# What a part of a form may be written in: nothing that would have to be unpacked.
PLAIN = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(slots=True)
class Upload:
    """A file on its way: what it is called, and the other fields of its form, once all chunks are read.

    `known` are the fields that a form may have beside its file.
    """

    name: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    known: frozenset[str] = FORM_FIELDS


async def file_chunks(request: web.Request, upload: Upload) -> AsyncIterator[bytes]:
    """The bytes of the file; notes in `upload` what comes with it.

    Raises Refused: 400 for an empty file or a wrong form, 408 for a body that stands still, 415 for one that is packed
    in an unknown way.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding not in ENCODINGS:
        raise Refused(415, f"Content-Encoding {encoding!r} is not supported; use gzip.", "unsupported_encoding")
    is_form = request.content_type.startswith("multipart/")
    chunks = _form_chunks(request, upload) if is_form else _raw_chunks(request)
    empty = True
    try:
        async for chunk in _timed(chunks):
            if chunk:
                empty = False
                yield chunk
    except (*UNREADABLE, ValueError):
        raise bad_request("The request body could not be read.", code="invalid_body") from None
    if empty:
        raise bad_request("The file is empty.", FILE, "empty_file")


async def _timed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused(408, "The request body did not arrive in time.", "request_timeout") from None
        yield chunk


async def _raw_chunks(request: web.Request) -> AsyncIterator[bytes]:
    while chunk := await request.content.readany():
        yield chunk


async def _form_chunks(request: web.Request, upload: Upload) -> AsyncIterator[bytes]:
    if request.content_type != "multipart/form-data":
        raise Refused(415, "A form is sent as multipart/form-data.", "unsupported_media_type")
    parts, found = await _form(request), False
    async for part in _parts(parts):
        if part.name in upload.known and part.filename is None:
            upload.fields[part.name] = await _field(part)
        elif part.name == FILE and not found:
            found, upload.name = True, part.filename or ""
            while chunk := await part.read_chunk(PIECE_BYTES):
                yield bytes(chunk)
        else:
            name = (part.name or "")[:64]
            known = ", ".join(f"'{each}'" for each in sorted(upload.known, reverse=True))
            raise bad_request(f"Unknown field '{name}': a form has one '{FILE}', and {known}.", name)
    if not found:
        raise bad_request(f"Missing '{FILE}'.", FILE, "missing_required_parameter")


async def _form(request: web.Request) -> MultipartReader:
    try:
        return await request.multipart()
    except (AssertionError, ValueError, HttpProcessingError):
        raise bad_request("The form has no boundary.", code="invalid_body") from None


async def _parts(form: MultipartReader) -> AsyncIterator[BodyPartReader]:
    count = 0
    while (part := await form.next()) is not None:
        count += 1
        if count > MAX_FIELDS:
            raise bad_request(f"A form has at most {MAX_FIELDS} fields.", code="too_many")
        if not isinstance(part, BodyPartReader):
            raise bad_request("A form within a form is not taken.", code="invalid_body")
        encodings = (part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, ""), part.headers.get(hdrs.CONTENT_ENCODING, ""))
        if any(encoding.lower() not in PLAIN for encoding in encodings):
            raise Refused(415, "The parts of a form are sent as they are.", "unsupported_encoding")
        yield part


async def _field(part: BodyPartReader) -> str:
    kept = bytearray()
    while chunk := await part.read_chunk(MAX_FIELD_BYTES):
        kept += chunk
        if len(kept) > MAX_FIELD_BYTES:
            raise bad_request(f"Invalid '{part.name}': at most {MAX_FIELD_BYTES} bytes.", part.name, "invalid_value")
    try:
        return kept.decode()
    except UnicodeDecodeError:
        raise bad_request(f"Invalid '{part.name}': it is no UTF-8.", part.name, "invalid_value") from None

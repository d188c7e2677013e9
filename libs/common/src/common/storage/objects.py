"""Objects: bytes under a key, in a directory or an S3-compatible store, written whole or not at all.

The engine is chosen by URL alone. In a directory an object is written as a file beside it, which takes its name
once it is complete; on S3 by one request, or by an upload in parts that counts once it is completed. What a process
that died leaves of either is no object. In a directory `sweep` takes it away, on S3 a lifecycle rule of the bucket.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, S3Store

from common.failures import StoreUnavailableError

log = structlog.get_logger(__name__)

T = TypeVar("T")

# What one request to S3 carries; the smallest part that it takes is 5 MiB. Two are in flight of one upload.
PART_BYTES = 8 * 1024 * 1024
PARTS_IN_FLIGHT = 2
# A directory takes any; this many are worth a change of threads.
DIRECTORY_PART_BYTES = 1024 * 1024
# Of one request to S3; what fails is tried again before anybody is told.
CONNECT_TIMEOUT = timedelta(seconds=3)
REQUEST_TIMEOUT = timedelta(seconds=60)
RETRIES = 3
RETRY_TIMEOUT = timedelta(seconds=10)
READ_BYTES = 256 * 1024
# Enough to tell what a file is.
HEAD_BYTES = 8 * 1024
# How long an upload that is given up may take to say so to the store.
ABORT_SECONDS = 10.0
SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# A file beside an object that is being written, as the library names it: key, '#', number.
UNFINISHED = re.compile(r".+#[0-9]+")


class ObjectMissing(Exception):
    """There is no object of this key."""


class ObjectTooLarge(Exception):
    """More bytes than may be written or read; `max_bytes` is how many may."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"more than {max_bytes} bytes")
        self.max_bytes = max_bytes


@dataclass(frozen=True, slots=True)
class Written:
    """An object that was written: `sha256` is lower-case hex, `head` its first `HEAD_BYTES`."""

    key: str
    size: int
    sha256: str
    head: bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a listing."""

    key: str
    size: int
    modified_at: datetime


def object_key(kind: str, org_id: str, id: str) -> str:
    """`<kind>/<organisation>/<id>`: one organisation has one prefix per kind. Raises ValueError for odd names."""
    for part in (kind, org_id, id):
        if not SEGMENT.fullmatch(part):
            raise ValueError(f"not part of a key: {part[:40]!r}")
    return f"{kind}/{org_id}/{id}"


class Objects:
    """All objects of an installation; made by `open_objects`.

    Every method raises StoreUnavailableError while the store does not answer.
    """

    def __init__(self, store: ObjectStore, directory: Path | None = None) -> None:
        self._store = store
        self._directory = directory
        self._part_bytes = PART_BYTES if directory is None else DIRECTORY_PART_BYTES

    # -- writing -------------------------------------------------------------------------------------------------------

    async def write(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int | None = None) -> Written:
        """Write what the iterator gives, in place of what was there.

        An error of the iterator passes through. That, a cancellation and ObjectTooLarge leave everything as it was.
        """
        tally = _Tally(max_bytes)
        async with aclosing(_parts(tally.counted(chunks), self._part_bytes)) as parts:
            first = await anext(parts, b"")
            if len(first) < self._part_bytes:
                await self._put(key, first)
            else:
                await self._put_parts(key, _Source(first, parts))
        await self._settle(key)
        return Written(key, tally.size, tally.digest.hexdigest(), bytes(tally.head))

    async def write_bytes(self, key: str, data: bytes) -> Written:
        """Write a small object; as `write`."""
        return await self.write(key, _slices(data))

    async def write_file(self, key: str, path: Path, *, max_bytes: int | None = None) -> Written:
        """Write the content of a file; as `write`."""
        return await self.write(key, _file_chunks(path), max_bytes=max_bytes)

    async def _put(self, key: str, data: bytes) -> None:
        await self._answered(obstore.put_async(self._store, key, data, use_multipart=False), key)

    async def _put_parts(self, key: str, source: "_Source") -> None:
        """The library gives the upload up where its source raises; cancelled, it would leave it open."""
        put = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                key,
                source,
                use_multipart=True,
                chunk_size=self._part_bytes,
                max_concurrency=PARTS_IN_FLIGHT,
            )
        )
        try:
            await self._answered(asyncio.shield(put), key)
        except asyncio.CancelledError:
            source.stop()
            await asyncio.wait({put}, timeout=ABORT_SECONDS)
            if not put.cancelled() and put.done():
                put.exception()
            raise
        except Exception:
            # What the source raised may come back wrapped by the library.
            if source.error is not None:
                raise source.error from None
            raise

    async def _settle(self, key: str) -> None:
        """A directory keeps what was written over a power cut, too."""
        if self._directory is not None:
            await asyncio.to_thread(_sync, self._directory / key)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`, which is not among them. Raises ObjectMissing before the first one."""
        if end is not None and end <= start:
            return
        options: obstore.GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        result = await self._answered(obstore.get_async(self._store, key, options=options), key)
        stream = aiter(result.stream(min_chunk_size=READ_BYTES))
        while True:
            try:
                chunk = await self._answered(anext(stream), key)
            except StopAsyncIteration:
                return
            yield bytes(chunk)

    async def read_bytes(self, key: str, *, max_bytes: int) -> bytes:
        """A small object as a whole. Raises ObjectMissing and ObjectTooLarge."""
        kept = bytearray()
        async with aclosing(self.read(key)) as chunks:
            async for chunk in chunks:
                kept += chunk
                if len(kept) > max_bytes:
                    raise ObjectTooLarge(max_bytes)
        return bytes(kept)

    async def copy_to_file(self, key: str, path: Path) -> None:
        """Write an object to a new file. Raises ObjectMissing."""
        file = await asyncio.to_thread(path.open, "xb")
        try:
            async with aclosing(self.read(key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        finally:
            await asyncio.to_thread(file.close)

    async def size(self, key: str) -> int:
        """How many bytes it has. Raises ObjectMissing."""
        found = await self._answered(obstore.head_async(self._store, key), key)
        return int(found["size"])

    async def listed(self, prefix: str) -> AsyncIterator[Listed]:
        """All objects whose keys begin with `prefix` and a slash."""
        pages = aiter(obstore.list(self._store, prefix))
        while True:
            try:
                page = await self._answered(anext(pages), prefix)
            except StopAsyncIteration:
                return
            for found in page:
                yield Listed(found["path"], int(found["size"]), found["last_modified"])

    # -- taking away ---------------------------------------------------------------------------------------------------

    async def delete(self, key: str) -> None:
        """Take an object away; it may be missing."""
        with contextlib.suppress(ObjectMissing):
            await self._answered(obstore.delete_async(self._store, key), key)

    async def move(self, key: str, to: str) -> None:
        """Give an object another key, in place of what is there. Raises ObjectMissing."""
        await self._answered(obstore.rename_async(self._store, key, to), key)
        await self._settle(to)

    async def sweep(self, older_seconds: float) -> int:
        """Take away what writers that died left unfinished, and have not touched for so long; returns how many.

        On S3 that is not to be seen from here: a lifecycle rule of the bucket ends incomplete uploads.
        """
        if self._directory is None:
            return 0
        return await asyncio.to_thread(_sweep, self._directory, time.time() - older_seconds)

    async def _answered(self, call: Awaitable[T], key: str) -> T:
        try:
            return await call
        except (NotFoundError, FileNotFoundError):
            raise ObjectMissing(key) from None
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the object store does not answer: {_reason(error)}") from error


@asynccontextmanager
async def open_objects(url: str, data_dir: Path) -> AsyncIterator[Objects]:
    """The store of this URL: `file:///folder`, `s3://bucket/prefix`, or nothing for a folder under `data_dir`.

    Raises ValueError for any other URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        yield Objects(_s3(parts.netloc, parts.path.strip("/")))
        return
    if url and (parts.scheme != "file" or parts.netloc or not parts.path.startswith("/")):
        raise ValueError("SONANT_OBJECTS_URL is file:///folder or s3://bucket/prefix")
    directory = _directory(url, data_dir)
    await asyncio.to_thread(_own, directory)
    directory = await asyncio.to_thread(directory.resolve)
    yield Objects(LocalStore(directory), directory)


def _directory(url: str, data_dir: Path) -> Path:
    return Path(unquote(urlsplit(url).path)) if url else data_dir / "objects"


def wrong_directory(url: str, data_dir: Path) -> Iterator[str]:
    """A line `SONANT_NAME: why` where the store is a directory that cannot be written, seen without writing."""
    if urlsplit(url).scheme == "s3":
        return
    directory = _directory(url, data_dir).absolute()
    variable = "SONANT_OBJECTS_URL" if url else "SONANT_DATA_DIR"
    place = next((each for each in (directory, *directory.parents) if os.path.lexists(each)), directory)
    if not place.is_dir():
        yield f"{variable}: {place} is not a folder; expected is a folder that can be written"
    elif not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield f"{variable}: {place} cannot be written by this account; files are kept there"


def _s3(bucket: str, prefix: str) -> ObjectStore:
    """Credentials, region and endpoint come from the variables `AWS_*`, as for all clients of S3."""
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={"allow_http": plain, "timeout": REQUEST_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT},
        retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT},
    )


def _own(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _reason(error: Exception) -> str:
    """The first line: what follows names hosts, and repeats the whole answer."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


# -- what is written ---------------------------------------------------------------------------------------------------


class _Tally:
    """Counts and hashes what passes."""

    def __init__(self, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self.size = 0
        self.digest = hashlib.sha256()
        self.head = bytearray()

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks; raises ObjectTooLarge."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self._max_bytes is not None and self.size > self._max_bytes:
                raise ObjectTooLarge(self._max_bytes)
            if len(self.head) < HEAD_BYTES:
                self.head += chunk[: HEAD_BYTES - len(self.head)]
            self.digest.update(chunk)
            yield chunk


async def _parts(chunks: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """The same bytes in parts of `size`; the last one is smaller, and may be empty."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(memoryview(waiting)[:size])
            del waiting[:size]
    yield bytes(waiting)


class _Source:
    """The parts of an upload, as the library asks for them; it can be stopped, and keeps the error of its parts."""

    def __init__(self, first: bytes, parts: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._parts = parts
        self._asked: asyncio.Task[object] | None = None
        self._stopped = False
        self.error: Exception | None = None

    def __aiter__(self) -> "_Source":
        return self

    async def __anext__(self) -> bytes:
        if self._stopped:
            raise asyncio.CancelledError
        if self._first is not None:
            part, self._first = self._first, None
            return part
        self._asked = asyncio.current_task()
        try:
            part = await anext(self._parts)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        finally:
            self._asked = None
        if not part:
            raise StopAsyncIteration
        return part

    def stop(self) -> None:
        """End it by an error: now, or when it is asked next."""
        self._stopped = True
        if self._asked is not None:
            self._asked.cancel()


async def _slices(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for at in range(0, len(data), READ_BYTES):
        yield bytes(view[at : at + READ_BYTES])
        await asyncio.sleep(0)


async def _file_chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk
    finally:
        await asyncio.to_thread(file.close)


# -- the directory -----------------------------------------------------------------------------------------------------


def _sync(path: Path) -> None:
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(directory: Path, before: float) -> int:
    swept = 0
    for path in _unfinished(directory):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                swept += 1
    return swept


def _unfinished(directory: Path) -> Iterable[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder, name) for name in names if UNFINISHED.fullmatch(name))

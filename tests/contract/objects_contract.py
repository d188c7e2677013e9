"""What every object store keeps: one class for the directory and for S3."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.failures import StoreUnavailableError
from common.storage.objects import PART_BYTES, ObjectMissing, Objects, ObjectTooLarge, object_key

KEY = object_key("assets", "acme", "ast_1")
PIECE = bytes(range(256)) * 400


async def pieces(count: int, *, fails: bool = False) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE
    if fails:
        raise LookupError("the source broke off")


class ObjectsContract:
    """Subclasses give the fixture `objects`, and `left_over`: what uploads that did not end have left."""

    async def left_over(self) -> list[str]:
        raise NotImplementedError

    async def keys(self, objects: Objects) -> list[str]:
        return [found.key async for found in objects.listed("assets")]

    @pytest.mark.parametrize("count", [0, 1, 2 * PART_BYTES // len(PIECE) + 3])
    async def test_what_was_written_is_read(self, objects: Objects, count: int) -> None:
        written = await objects.write(KEY, pieces(count))
        data = PIECE * count
        assert written.size == len(data)
        assert written.sha256 == hashlib.sha256(data).hexdigest()
        assert written.head == data[:8192]
        assert await objects.size(KEY) == len(data)
        assert await objects.read_bytes(KEY, max_bytes=len(data)) == data

    async def test_parts_of_it_are_read(self, objects: Objects) -> None:
        await objects.write_bytes(KEY, b"0123456789")
        assert b"".join([chunk async for chunk in objects.read(KEY, 2, 5)]) == b"234"
        assert b"".join([chunk async for chunk in objects.read(KEY, 7)]) == b"789"
        assert b"".join([chunk async for chunk in objects.read(KEY, 4, 4)]) == b""

    async def test_a_file_goes_in_and_out(self, objects: Objects, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(PIECE * 30)
        await objects.write_file(KEY, tmp_path / "in")
        await objects.copy_to_file(KEY, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == PIECE * 30
        with pytest.raises(FileExistsError):
            await objects.copy_to_file(KEY, tmp_path / "out")

    async def test_a_later_write_takes_its_place(self, objects: Objects) -> None:
        await objects.write_bytes(KEY, b"first")
        await objects.write_bytes(KEY, b"second")
        assert await objects.read_bytes(KEY, max_bytes=10) == b"second"
        assert await self.keys(objects) == [KEY]

    @pytest.mark.parametrize("count", [1, 2 * PART_BYTES // len(PIECE)])
    async def test_a_source_that_breaks_off_leaves_nothing(self, objects: Objects, count: int) -> None:
        await objects.write_bytes(KEY, b"before")
        with pytest.raises(LookupError, match="broke off"):
            await objects.write(KEY, pieces(count, fails=True))
        assert await objects.read_bytes(KEY, max_bytes=10) == b"before"
        assert await self.left_over() == []

    @pytest.mark.parametrize("most", [len(PIECE), 2 * PART_BYTES])
    async def test_too_much_leaves_nothing(self, objects: Objects, most: int) -> None:
        with pytest.raises(ObjectTooLarge):
            await objects.write(KEY, pieces(most // len(PIECE) + 2), max_bytes=most)
        assert await self.keys(objects) == []
        assert await self.left_over() == []

    async def test_a_cancelled_write_leaves_nothing(self, objects: Objects) -> None:
        under_way = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            async for piece in pieces(2 * PART_BYTES // len(PIECE)):
                yield piece
            under_way.set()
            await asyncio.Event().wait()
            yield b""

        writing = asyncio.create_task(objects.write(KEY, endless()))
        await under_way.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await self.keys(objects) == []
        assert await self.left_over() == []

    async def test_many_at_once_do_not_mix(self, objects: Objects) -> None:
        keys = [object_key("assets", "acme", f"ast_{number}") for number in range(20)]
        await asyncio.gather(*(objects.write_bytes(key, key.encode() * 1000) for key in keys))
        assert await asyncio.gather(*(objects.read_bytes(key, max_bytes=10**6) for key in keys)) == [
            key.encode() * 1000 for key in keys
        ]
        assert sorted(await self.keys(objects)) == sorted(keys)

    async def test_what_is_not_there_is_missing(self, objects: Objects) -> None:
        with pytest.raises(ObjectMissing):
            await objects.size(KEY)
        with pytest.raises(ObjectMissing):
            await objects.read_bytes(KEY, max_bytes=1)
        await objects.delete(KEY)

    async def test_what_is_taken_away_is_gone(self, objects: Objects) -> None:
        await objects.write_bytes(KEY, b"x")
        await objects.delete(KEY)
        assert await self.keys(objects) == []

    async def test_what_is_moved_is_at_its_new_key_alone(self, objects: Objects) -> None:
        other = object_key("assets", "acme", "ast_2")
        await objects.write_bytes(KEY, b"new")
        await objects.write_bytes(other, b"old")
        await objects.move(KEY, other)
        assert await objects.read_bytes(other, max_bytes=10) == b"new"
        assert await self.keys(objects) == [other]
        with pytest.raises(ObjectMissing):
            await objects.move(KEY, other)

    async def test_a_large_object_is_not_read_as_a_small_one(self, objects: Objects) -> None:
        await objects.write_bytes(KEY, PIECE)
        with pytest.raises(ObjectTooLarge):
            await objects.read_bytes(KEY, max_bytes=len(PIECE) - 1)

    async def test_a_listing_is_of_one_prefix(self, objects: Objects) -> None:
        other = object_key("assets", "acme-2", "ast_2")
        await objects.write_bytes(KEY, b"x")
        await objects.write_bytes(other, b"xy")
        assert [(found.key, found.size) async for found in objects.listed("assets/acme")] == [(KEY, 1)]


async def away(objects: Objects) -> None:
    """Everything that is asked of a store which does not answer says so."""
    with pytest.raises(StoreUnavailableError):
        await objects.write_bytes(KEY, b"x")
    with pytest.raises(StoreUnavailableError):
        await objects.read_bytes(KEY, max_bytes=1)
    with pytest.raises(StoreUnavailableError):
        await objects.delete(KEY)

"""Objects in a directory: the contract, and what is the directory's own."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.storage.objects import Objects, object_key, open_objects
from tests.contract.objects_contract import KEY, ObjectsContract, away

# Writes the first parts of an object, says so, and waits to be killed.
WRITER = """
import asyncio, sys
from pathlib import Path
from common.storage.objects import PART_BYTES, open_objects

async def endless():
    for _ in range(3):
        yield bytes(PART_BYTES)
    print("under way", flush=True)
    await asyncio.sleep(60)

async def main():
    async with open_objects("", Path(sys.argv[1])) as objects:
        await objects.write(sys.argv[2], endless())

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def objects(tmp_path: Path, folder: Path) -> AsyncIterator[Objects]:
    async with open_objects("", tmp_path) as opened:
        yield opened


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if "#" in path.name]


class TestDirectory(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _own_folder(self, folder: Path) -> None:
        self.folder = folder

    async def left_over(self) -> list[str]:
        return unfinished(self.folder)


async def test_a_writer_that_was_killed_leaves_no_object_and_is_swept(
    objects: Objects, folder: Path, tmp_path: Path
) -> None:
    await objects.write_bytes(KEY, b"before")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), KEY], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "under way\n"
        writer.send_signal(signal.SIGKILL)
    assert await objects.read_bytes(KEY, max_bytes=10) == b"before"
    assert unfinished(folder) != []
    assert [found.key async for found in objects.listed("assets")] == [KEY]
    assert await objects.sweep(older_seconds=3600) == 0
    assert await objects.sweep(older_seconds=0) == 1
    assert unfinished(folder) == []
    assert await objects.read_bytes(KEY, max_bytes=10) == b"before"


async def test_only_the_owner_may_look_into_the_folder(objects: Objects, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_folder_that_cannot_be_written_is_away(objects: Objects, folder: Path) -> None:
    folder.rmdir()
    folder.write_bytes(b"a file stands in its place")
    await away(objects)


async def test_a_url_names_the_folder(tmp_path: Path) -> None:
    named = tmp_path / "some where"
    async with open_objects(f"file://{tmp_path}/some%20where", tmp_path / "unused") as objects:
        await objects.write_bytes(KEY, b"x")
    assert (named / KEY).read_bytes() == b"x"
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("url", ["http://host/x", "file://host/x", "gs://bucket", "/just/a/path", "file:relative"])
async def test_another_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SONANT_OBJECTS_URL"):
        async with open_objects(url, tmp_path):
            pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "../x", "a\x00", "a#1", "é", "x" * 200])
def test_a_key_is_made_of_plain_parts(part: str) -> None:
    with pytest.raises(ValueError, match="not part of a key"):
        object_key("assets", part, "id")
    with pytest.raises(ValueError, match="not part of a key"):
        object_key("assets", "acme", part)

"""Objects on S3: the contract, and what happens while the store is away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.storage.objects import Objects, open_objects
from tests.contract.objects_contract import ObjectsContract, away
from tests.support.s3 import CREDENTIALS, S3, s3_server
from tests.support.sonant import free_port


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[S3]:
    async with s3_server() as server:
        yield server


@pytest.fixture
async def objects(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Objects]:
    await s3.empty()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    async with open_objects(f"s3://{s3.bucket}/some/prefix", tmp_path) as opened:
        yield opened


class TestS3(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _own_server(self, s3: S3) -> None:
        self.s3 = s3

    async def left_over(self) -> list[str]:
        return await self.s3.unfinished_uploads()


async def test_a_server_that_is_gone_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    async with open_objects("s3://sonant", tmp_path) as objects:
        await away(objects)


async def test_a_sweep_leaves_s3_to_its_lifecycle_rules(objects: Objects) -> None:
    assert await objects.sweep(older_seconds=0) == 0

"""Media with the stand-ins of its providers, and one organisation that has files measured."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from common.events.assets import ASSET_KIND, ASSET_RECORD_REQUESTED, new_asset_id
from common.storage.objects import Objects, object_key, open_objects
from sandbox.app import serve
from tests.support.media import Owner, media_on, owner_of
from tests.support.service import ServiceProcess, World

# What measures here has the lowest priority, and starts by loading its packages.
PATIENCE = 160.0


@dataclass(frozen=True)
class Lab:
    """Media, the stand-in of its providers, and one organisation."""

    world: World
    owner: Owner
    objects: Objects
    media: ServiceProcess
    http: aiohttp.ClientSession

    async def arrange(self, *faults: Mapping[str, Any], **more: Any) -> None:
        async with self.http.put("/sandbox/hume/accounts/sandbox", json={"faults": list(faults), **more}) as answer:
            assert answer.status == 200

    async def charges(self) -> dict[str, int]:
        async with self.http.get("/sandbox/hume/accounts/sandbox") as answer:
            charged: dict[str, int] = (await answer.json())["charges"]
            return charged

    async def asset(self, data: bytes) -> str:
        asset_id = new_asset_id()
        await self.objects.write_bytes(object_key(ASSET_KIND, self.owner.org_id, asset_id), data)
        sha256 = hashlib.sha256(data).hexdigest()
        fields: dict[str, Any] = {
            "id": asset_id,
            "key_id": "key-1",
            "content_type": "audio/wav",
            "size": len(data),
            "sha256": sha256,
        }
        assert (await self.owner.ask(ASSET_RECORD_REQUESTED, **fields)).status == 201
        return asset_id

    async def begun(self, data: bytes, **given: Any) -> str:
        return await self.owner.submit("expressions", asset_id=await self.asset(data), **given)

    async def measured(self, job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The job, and the whole measurement."""
        job = await self.owner.ended(job_id, PATIENCE)
        assert job["state"] == "completed", job
        key = object_key(ASSET_KIND, self.owner.org_id, job["result"]["asset_id"])
        return job, orjson.loads(await self.objects.read_bytes(key, max_bytes=10**8))


@pytest.fixture
async def sandbox_url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@asynccontextmanager
async def lab(
    world: World,
    sandbox_url: str,
    providers: str = "hume,local",
    settings: Mapping[str, str] | None = None,
    url: str = "",
) -> AsyncIterator[Lab]:
    own = {"SONANT_SANDBOX_URL": sandbox_url, "SONANT_EXPRESSION_PROVIDERS": providers, **(settings or {})}
    async with (
        media_on(world, own) as media,
        owner_of(world) as owner,
        open_objects(url, world.output / "data") as objects,
        aiohttp.ClientSession(sandbox_url) as http,
    ):
        yield Lab(world, owner, objects, media, http)

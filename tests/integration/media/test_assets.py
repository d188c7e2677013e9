"""Assets in media, on real engines: quotas, repetitions, and what the sweep takes away."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_KIND,
    ASSET_LIST_REQUESTED,
    ASSET_RECORD_REQUESTED,
    new_asset_id,
)
from common.storage.objects import Objects, object_key, open_objects
from tests.support.media import Owner, media_on, owner_of
from tests.support.service import World
from tests.support.waiting import eventually

QUOTA = 1000
SETTINGS = {"SONANT_ORGANIZATION_ASSET_BYTES": str(QUOTA), "SONANT_ASSET_SWEEP_SECONDS": "0.1"}
DAYS_AGO = 2 * 86400.0


@pytest.fixture
async def objects(media_world: World) -> AsyncIterator[Objects]:
    async with open_objects("", media_world.output / "data") as opened:
        yield opened


async def stored(objects: Objects, owner: Owner, data: bytes = b"x", **given: Any) -> tuple[str, Any]:
    """A file that is in the store and recorded, as the gateway does it; its id, and the reply."""
    asset_id = given.pop("id", new_asset_id())
    await objects.write_bytes(object_key(ASSET_KIND, owner.org_id, asset_id), data)
    fields: dict[str, Any] = {"id": asset_id, "content_type": "audio/wav", "size": len(data)}
    fields |= {"sha256": hashlib.sha256(data).hexdigest(), "key_id": "key-1", **given}
    return asset_id, await owner.ask(ASSET_RECORD_REQUESTED, **fields)


def files(world: World) -> list[str]:
    return [path.name for path in (world.output / "data" / "objects").rglob("*") if path.is_file()]


def age(world: World, name: str) -> None:
    [path] = [each for each in (world.output / "data" / "objects").rglob("*") if each.name == name]
    long_ago = time.time() - DAYS_AGO
    os.utime(path, (long_ago, long_ago))


async def test_an_organisation_keeps_no_more_than_its_quota(media_world: World, objects: Objects) -> None:
    async with media_on(media_world, SETTINGS), owner_of(media_world) as owner:
        first, reply = await stored(objects, owner, bytes(600))
        assert reply.status == 201
        over, refused = await stored(objects, owner, bytes(401))
        assert (refused.status, refused.body["error"]["code"]) == (429, "asset_quota")
        assert over not in files(media_world)
        # The same one again, as another delivery of the command: it counts once.
        assert (await stored(objects, owner, bytes(700), id=first))[1].status == 201
        assert (await stored(objects, owner, bytes(300)))[1].status == 201
        assert (await stored(objects, owner.of("org-2"), bytes(1000)))[1].status == 201
        assert (await owner.ask(ASSET_DELETE_REQUESTED, key_id="key-1", id=first)).status == 200
        assert (await stored(objects, owner, bytes(700)))[1].status == 201
        [total] = await media_world.fetch("SELECT assets, bytes FROM media.asset_totals WHERE org_id = 'org-1'")
        assert (total["assets"], total["bytes"]) == (2, 1000)


async def test_an_id_stays_with_its_organisation(media_world: World, objects: Objects) -> None:
    async with media_on(media_world, SETTINGS), owner_of(media_world) as owner:
        asset_id, _ = await stored(objects, owner)
        thief = owner.of("org-2")
        assert (await stored(objects, thief, b"other", id=asset_id))[1].status == 500
        assert (await thief.ask(ASSET_GET_REQUESTED, id=asset_id)).status == 404
        found = await owner.ask(ASSET_GET_REQUESTED, id=asset_id)
        assert found.body["sha256"] == hashlib.sha256(b"x").hexdigest()


async def test_what_has_expired_is_gone_at_once_and_then_swept(media_world: World, objects: Objects) -> None:
    async with media_on(media_world, {**SETTINGS, "SONANT_ASSET_SWEEP_SECONDS": "1"}), owner_of(media_world) as owner:
        asset_id, reply = await stored(objects, owner, keep_seconds=1)
        kept, _ = await stored(objects, owner)
        assert reply.body["expires_at"] - reply.body["created_at"] == pytest.approx(1)

        async def hidden() -> bool:
            return (await owner.ask(ASSET_GET_REQUESTED, id=asset_id)).status == 404

        await eventually(hidden)
        await eventually(lambda: files(media_world) == [kept])
        page = await owner.ask(ASSET_LIST_REQUESTED, limit=10)
        assert [each["id"] for each in page.body["data"]] == [kept]


async def test_only_what_nobody_needs_is_swept(media_world: World, objects: Objects) -> None:
    orphan, fresh = new_asset_id(), new_asset_id()
    await objects.write_bytes(object_key(ASSET_KIND, "org-1", orphan), b"nobody's")
    await objects.write_bytes(object_key("speech-cache", "org-1", "other-kind"), b"not ours to judge")
    half = media_world.output / "data" / "objects" / ASSET_KIND / "org-1" / f"{new_asset_id()}#1"
    half.write_bytes(b"half")
    young = Path(f"{half.with_name(fresh)}#1")
    young.write_bytes(b"under way")
    for name in (orphan, "other-kind", half.name):
        age(media_world, name)
    await objects.write_bytes(object_key(ASSET_KIND, "org-1", fresh), b"to be recorded in a moment")
    async with owner_of(media_world) as owner:
        async with media_on(media_world, {**SETTINGS, "SONANT_ASSET_SWEEP_SECONDS": "3600"}):
            kept, _ = await stored(objects, owner)
            age(media_world, kept)
        # At its start the service looks for the first time.
        async with media_on(media_world, SETTINGS, instance="media-1") as media:
            await eventually(lambda: sorted(files(media_world)) == sorted([kept, fresh, young.name, "other-kind"]))
            await objects.write_bytes(object_key(ASSET_KIND, "org-2", kept), b"under another organisation's name")
            [wrong] = [each for each in (media_world.output / "data" / "objects").rglob(kept) if "org-2" in each.parts]
            os.utime(wrong, (0, 0))
            await eventually(lambda: not wrong.exists())
            assert await media.total("sonant_assets_swept_total") >= 1
            assert (await owner.ask(ASSET_GET_REQUESTED, id=kept)).status == 200

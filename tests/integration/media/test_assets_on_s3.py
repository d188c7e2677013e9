"""Media with its files on S3: read, measured, written and deleted there."""

from pathlib import Path

import pytest

from common.events.assets import ASSET_DELETE_REQUESTED
from common.storage.objects import ObjectMissing, open_objects
from tests.support.expressions import lab
from tests.support.media_files import voice, wav
from tests.support.s3 import s3_server
from tests.support.service import World


async def test_an_asset_on_s3_is_measured_and_deleted(
    media_world: World, sandbox_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with s3_server() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{s3.bucket}/files"
        settings = {"SONANT_OBJECTS_URL": url, **s3.environment}
        async with open_objects(url, tmp_path) as objects, lab(media_world, sandbox_url, "hume", settings, url) as at:
            job, whole = await at.measured(await at.begun(wav(voice(2.0))))
            assert whole["media"]["seconds"] == 2.0
            keys = {found.key.rpartition("/")[2] async for found in objects.listed("assets")}
            assert keys == {job["input"]["asset_id"], job["result"]["asset_id"]}
            deleted = await at.owner.ask(ASSET_DELETE_REQUESTED, key_id="key-1", id=job["result"]["asset_id"])
            assert deleted.status == 200
            with pytest.raises(ObjectMissing):
                await objects.size(f"assets/{at.owner.org_id}/{job['result']['asset_id']}")
            assert await s3.unfinished_uploads() == []
    assert not (media_world.output / "data" / "objects").exists()

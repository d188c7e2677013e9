"""Expression measurement on real engines and stand-ins that misbehave: nothing is paid twice, and somebody measures."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from common.events.assets import ASSET_KIND, ASSET_RECORD_REQUESTED, new_asset_id
from common.storage.model_files import YUNET
from common.storage.objects import Objects, object_key, open_objects
from sandbox.app import serve
from tests.support.media import Owner, left_behind, media_on, owner_of
from tests.support.media_files import clip, image, picture, voice, wav
from tests.support.service import ServiceProcess, World
from tests.support.waiting import eventually

AUDIO = "/v1/expression/audio/file"
BATCH = "/v0/batch/jobs"
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
async def lab(world: World, sandbox_url: str, providers: str = "hume,local") -> AsyncIterator[Lab]:
    settings = {"SONANT_SANDBOX_URL": sandbox_url, "SONANT_EXPRESSION_PROVIDERS": providers}
    async with (
        media_on(world, settings) as media,
        owner_of(world) as owner,
        open_objects("", world.output / "data") as objects,
        aiohttp.ClientSession(sandbox_url) as http,
    ):
        yield Lab(world, owner, objects, media, http)


def reasons(whole: dict[str, Any]) -> dict[str, str]:
    return {each["model"]: each["reason"] for each in whole["missing"]}


async def test_a_long_sound_is_split_where_it_is_quiet_and_stitched(media_world: World, sandbox_url: str) -> None:
    sound = wav(voice(640.0, pauses=((583.0, 585.0), (620.0, 622.0))))
    async with lab(media_world, sandbox_url) as at:
        job, whole = await at.measured(await at.begun(sound, interval=10.0))
        assert (await at.charges())["measurement_audio_requests"] == 2
        samples = whole["models"][0]["tracks"][0]["samples"]
        assert all(sample["end"] - sample["begin"] <= 10.0 for sample in samples)
        ends = [sample["end"] for sample in samples]
        assert ends == sorted(ends)
        assert max(ends) == pytest.approx(640.0, abs=0.01)
        # The second piece begins in the pause: nobody speaks over the cut.
        assert not [each for each in samples if each["begin"] < 583.0 and each["end"] > 585.5]
        assert [attempt["provider"] for attempt in job["attempts"]] == ["sandbox", "sandbox"]
        assert left_behind(media_world) == []


async def test_an_answer_that_is_lost_is_not_paid_again(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url) as at:
        await at.arrange({"do": "lost", "path": AUDIO})
        job, whole = await at.measured(await at.begun(wav(voice(4.0))))
        assert (await at.charges())["measurement_audio_requests"] == 1
        assert job["result"]["providers"] == ["local"]
        assert "lost" in reasons(whole)["prosody"]
        assert [each["outcome"] for each in job["attempts"]] == ["failed", "completed"]


async def test_nor_where_media_dies_while_it_is_under_way(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url) as at:
        await at.arrange({"do": "lost-silence", "path": AUDIO})
        job_id = await at.begun(wav(voice(4.0)))

        async def charged() -> bool:
            return bool(await at.charges())

        await eventually(charged, timeout=60)
        await at.media.kill()
    async with lab(media_world, sandbox_url) as at:
        job, _ = await at.measured(job_id)
        assert (await at.charges())["measurement_audio_requests"] == 1
        assert job["result"]["providers"] == ["local"]
        assert left_behind(media_world) == []


async def test_a_provider_that_says_no_is_asked_again(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url) as at:
        await at.arrange({"do": "status-503", "times": 2, "path": AUDIO})
        job, _ = await at.measured(await at.begun(wav(voice(4.0))))
        assert job["result"]["providers"] == ["sandbox"]
        assert [each["outcome"] for each in job["attempts"]] == ["failed", "failed", "completed"]
        await at.arrange({"do": "status-401", "times": None, "path": AUDIO})
        job, whole = await at.measured(await at.begun(wav(voice(4.0))))
        assert job["result"]["providers"] == ["local"]
        assert "account" in reasons(whole)["prosody"]


async def test_a_job_of_the_former_interface_runs_to_its_predictions(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url, "hume-batch") as at:
        job, whole = await at.measured(await at.begun(wav(voice(2.0))))
        assert {each["model"] for each in whole["models"]} == {"prosody", "burst", "language"}
        sample = whole["models"][0]["tracks"][0]["samples"][0]
        assert (sample["begin"], sample["end"], sample["text"]) == (0.0, 1.0, "words")
        assert whole["names"]["prosody"]["Surprise (positive)"] == "positive-surprise"
        assert job["attempts"][0]["reference"]
        # Its acknowledgement is lost: it is found by the name of its file, and not begun twice.
        await at.arrange({"do": "lost", "method": "POST", "path": BATCH})
        await at.measured(await at.begun(wav(voice(2.0))))
        assert (await at.charges())["batch_jobs"] == 2


async def test_what_one_refuses_another_measures(media_world: World, sandbox_url: str, tmp_path: Path) -> None:
    async with lab(media_world, sandbox_url, "hume-batch,local") as at:
        await at.arrange({"do": "status-400", "method": "POST", "path": BATCH})
        video = clip(tmp_path / "a.mp4", [picture()] * 10, samples=voice(1.0)).read_bytes()
        job, whole = await at.measured(await at.begun(video, models=["voice", "face"]))
        assert job["result"]["providers"] == ["local"]
        assert [each["model"] for each in whole["models"]] == ["voice"]
        assert "The provider says" in reasons(whole)["face"]
        assert YUNET.name in reasons(whole)["face"]


async def test_without_anybody_the_job_fails_with_its_reason(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url, "local") as at:
        picture_job = await at.owner.ended(await at.begun(image()))
        assert (picture_job["state"], picture_job["error"]["code"]) == ("failed", "model_missing")
        assert "sonant models fetch yunet" in picture_job["error"]["message"]
        nothing = await at.owner.ended(await at.begun(wav(voice(1.0)), models=["face"]))
        assert (nothing["state"], nothing["error"]["code"]) == ("failed", "nothing_to_measure")
        gone = await at.owner.ended(await at.owner.submit("expressions", asset_id=f"ast_{uuid.uuid4().hex}"))
        assert (gone["state"], gone["error"]["code"]) == ("failed", "asset_not_found")

"""Content analysis over HTTP: a film, an image and a sound, what is alike in a project, and what is searched for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.films import film, shot
from tests.support.media_files import clip, image, picture, voice, wav
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
PATH = "/v1/media/process"
SONANT = Path(sys.executable).parent / "sonant"


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def ended(caller: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text

    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    return await eventually(check, timeout=160, interval=0.1) or {}


async def analysed(caller: httpx.AsyncClient, data: bytes, **query: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of a job, and the whole analysis that it names."""
    job = await ended(caller, await caller.post(PATH, content=data, params=query))
    assert job["state"] == "completed", job["error"]
    whole = await caller.get(job["result"]["url"])
    assert whole.headers["content-type"] == "application/json"
    return job["result"], whole.json()


async def test_a_film_has_shots_pictures_and_clusters(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    frames = [*shot(1, 40), *shot(2, 40), *shot(1, 40)]
    made = film(tmp_path / "a.mp4", frames).read_bytes()
    async with client(sonant.url, key.headers) as caller:
        result, whole = await analysed(caller, made, project="films", title="Three shots")
        assert result["metadata"]["frames"] == 120
        assert [each["begin"] for each in whole["shots"]] == pytest.approx([0, 1.6, 3.2], abs=0.05)
        assert [each["transition"] for each in whole["shots"]] == ["start", "cut", "cut"]
        assert all(each["begin"] < each["keyframe"] < each["end"] for each in whole["shots"])
        # The first and the third shot are of one place.
        [alike] = result["clusters"]
        assert (alike["kind"], alike["size"]) == ("shot", 2)
        assert set(alike["of_this"]) == {whole["shots"][0]["item"], whole["shots"][2]["item"]}
        assert result["embeddings"]["items"] == 3
        assert len(whole["embeddings"]["data"][0]["vector"]) == result["embeddings"]["dimensions"]
        assert set(result["steps"]) == {"shots", "keyframes", "faces", "quality", "embeddings", "clusters"}
        for address, kind in ((result["contact_sheet_url"], "image/jpeg"), (result["report_url"], "text/html")):
            got = await caller.get(address)
            assert got.headers["content-type"].startswith(kind)
        assert "Three shots" in got.text
        assert "<script" not in got.text
        assert got.text.count("data:image/jpeg") == 1 + 2

        found = (await caller.get("/v1/media/analyses", params={"project": "films", "text": "three"})).json()
        assert [each["id"] for each in found["data"]] == [result["analysis_id"]]
        like = (await caller.get("/v1/media/similar", params={"item_id": whole["shots"][0]["item"]})).json()
        assert like["data"][0]["id"] == whole["shots"][2]["item"]
        clusters = (await caller.get("/v1/media/clusters", params={"project": "films"})).json()
        assert [each["id"] for each in clusters["data"]] == [alike["id"]]


async def test_a_cluster_stays_when_items_are_added(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    async with client(sonant.url, key.headers) as caller:
        first, _ = await analysed(
            caller, film(tmp_path / "a.mp4", [*shot(3, 30), *shot(4, 30), *shot(3, 30)]).read_bytes(), project="kept"
        )
        second, _ = await analysed(
            caller, film(tmp_path / "b.mp4", [*shot(3, 30), *shot(5, 30)]).read_bytes(), project="kept"
        )
        [before], [after] = first["clusters"], second["clusters"]
        assert (after["id"], after["label"], after["size"]) == (before["id"], before["label"], 3)
        assert second["near_duplicates"]
        gone = await caller.delete(f"/v1/media/analyses/{second['analysis_id']}")
        assert gone.json()["deleted"]
        [left] = (await caller.get("/v1/media/clusters", params={"project": "kept"})).json()["data"]
        assert (left["id"], left["size"]) == (before["id"], 2)
        assert (await caller.get(second["report_url"])).status_code == 404


async def test_a_sound_has_loudness_tempo_and_a_wave(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        result, whole = await analysed(caller, wav(voice(6.0, pauses=((2.0, 3.0),))))
        assert result["media"] == "audio"
        assert set(result["steps"]) == {"sound", "music"}
        assert -40 < result["sound"]["integrated_lufs"] < -5
        assert result["sound"]["silence"][0] == pytest.approx([2.0, 3.0], abs=0.25)
        assert result["sound"]["tempo_bpm"] > 0
        assert len(whole["sound"]["curve"]) == pytest.approx(60, abs=2)
        assert (await caller.get(result["waveform_url"])).headers["content-type"] == "image/png"


async def test_an_image_and_a_film_with_sound(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    async with client(sonant.url, key.headers) as caller:
        result, _ = await analysed(caller, image("PNG"))
        assert (result["media"], result["shots"], result["embeddings"]["items"]) == ("image", 0, 1)
        made = clip(tmp_path / "a.mp4", [picture()] * 20, samples=voice(2.0)).read_bytes()
        result, _ = await analysed(caller, made, steps="quality,sound")
        assert set(result["steps"]) == {"shots", "keyframes", "quality", "sound"}
        # A picture that stands still for two seconds.
        assert result["quality"]["frozen"]


async def test_nobody_sees_what_others_analysed(sonant: Sonant, key: Key) -> None:
    other = new_key(sonant, scopes=["media"])
    async with client(sonant.url, key.headers) as caller, client(sonant.url, other.headers) as stranger:
        result, whole = await analysed(caller, image(), project="mine")
        item = whole["embeddings"]["data"][0]["item"]
        path = f"/v1/media/analyses/{result['analysis_id']}"
        assert (await caller.get(path)).status_code == 200
        assert (await stranger.get(path)).status_code == 404
        assert (await stranger.delete(path)).status_code == 404
        assert (await stranger.get("/v1/media/similar", params={"item_id": item})).status_code == 404
        assert (await stranger.get("/v1/media/analyses")).json()["data"] == []
        assert (await stranger.get("/v1/media/clusters", params={"project": "mine"})).json()["data"] == []
        assert (await stranger.get(result["url"])).status_code == 404


WRONG: list[dict[str, Any]] = [
    {},
    {"asset_id": "ast_x"},
    {"url": "file:///etc/passwd"},
    {"url": "https://example.com/a.mp4", "asset_id": "ast_" + "0" * 32},
    {"url": "https://example.com/a.mp4", "steps": ["magic"]},
    {"url": "https://example.com/a.mp4", "project": "../x"},
    {"url": "https://example.com/a.mp4", "title": "a" * 201},
    {"url": "https://example.com/a.mp4", "other": 1},
]


async def test_a_wrong_body_is_refused(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        for body in WRONG:
            answer = await caller.post(PATH, json=body)
            assert answer.status_code == 400, (body, answer.text)
        inside = await ended(caller, await caller.post(PATH, json={"url": "http://127.0.0.1:5432/"}))
        assert inside["state"] == "failed"


def test_the_command_writes_the_report(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("PNG"))
    done = subprocess.run(
        [SONANT, "process", "a.png", "--report", "a.html", "--url", sonant.url, "--key", key.text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=160,
    )
    assert done.returncode == 0, done.stderr
    assert "kind: image" in done.stdout
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")

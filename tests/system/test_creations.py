"""Films of prompts over HTTP: a package with sound, captions in step and everything else; fallbacks that are told."""

import json
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.creations import heard_spans, loudness, told_spans
from tests.support.sonant import Sonant
from tests.support.songs import ended

PATH = "/v1/media/content"
PROMPT = "A red kite flies over the sea. It turns in the wind."
SMALL = {"model": "local", "duration": 1.0, "resolution": "320x192"}


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def made(caller: httpx.AsyncClient, folder: Path, **body: Any) -> tuple[dict[str, Any], Path]:
    """The job of a film that must go well, and the film."""
    job = await ended(caller, await caller.post(PATH, json={"prompt": PROMPT, **SMALL, **body}))
    assert job["state"] == "completed", job["error"]
    film = folder / "film.mp4"
    answer = await caller.get(job["result"]["url"])
    assert answer.headers["content-type"] == "video/mp4"
    film.write_bytes(answer.content)
    return job, film


async def test_a_prompt_becomes_a_film_with_captions_in_step(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    async with client(sonant.url, key.headers) as caller:
        job, film = await made(caller, tmp_path, voice="default", project="kites")
        result = job["result"]
        captions = await caller.get(result["captions_url"])
        package = (await caller.get(result["package_url"])).json()
        pictures = [await caller.get(url) for url in result["thumbnails"]]
        events = (await caller.get(f"/v1/jobs/{job['id']}")).json()
    assert [each["step"] for each in events["history"] if each["event"] == "step"] == [
        "plan",
        "narrate",
        "film",
        "analyse",
        "enhance",
        "cluster",
        "package",
    ]
    assert json.loads(json.dumps(result))["script"]["by"] == "template plain"
    assert [line["text"] for line in result["captions"]] == ["A red kite flies over the sea.", "It turns in the wind."]
    assert captions.text.startswith("WEBVTT\n")
    assert captions.headers["content-type"].startswith("text/vtt")
    assert package["asset_id"] == result["asset_id"]
    assert [picture.headers["content-type"] for picture in pictures] == ["image/jpeg"]
    assert result["metadata"]["title"]
    assert result["embeddings"]
    with av.open(str(film)) as opened:
        kinds = [stream.type for stream in opened.streams]
        assert kinds == ["video", "audio", "subtitle"]
        pictures_shown = sum(1 for _ in opened.decode(video=0))
    assert abs(pictures_shown / 24 - result["duration"]) < 0.1
    assert abs(loudness(film) + 16) <= 1
    spoken, told = heard_spans(film, len(result["captions"])), told_spans(film)
    assert len(told) == len(result["captions"])
    for (begin, end), (caption_begin, caption_end) in zip(spoken, told, strict=True):
        assert abs(begin - caption_begin) <= 0.15, (spoken, told)
        assert abs(end - caption_end) <= 0.15, (spoken, told)


async def test_a_script_of_ones_own_is_filmed_scene_by_scene(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    scenes = [{"say": "One.", "show": "a red square"}, {"say": "Two.", "show": "a blue square"}]
    async with client(sonant.url, key.headers) as caller:
        job, _ = await made(caller, tmp_path, script={"title": "Squares", "scenes": scenes})
        stranger = new_key(sonant, scopes=["media"])
    result = job["result"]
    assert (result["script"]["by"], len(result["thumbnails"])) == ("caller", 2)
    assert len(result["metadata"]["clips"]) == 2
    async with client(sonant.url, stranger.headers) as other:
        assert (await other.get(result["url"])).status_code == 404


async def test_a_wrong_body_is_refused(sonant: Sonant, key: Key) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"prompt": "x"},
        {"prompt": "..."},
        {"prompt": "x" * 3001},
        {"prompt": PROMPT, "template": "other"},
        {"prompt": PROMPT, "aspect": "4:3"},
        {"prompt": PROMPT, "model": "nobody"},
        {"prompt": PROMPT, "duration": 99},
        {"prompt": PROMPT, "script": {"title": "a", "scenes": []}},
        {"prompt": PROMPT, "script": {"title": "a", "scenes": [{"say": "a", "show": "bb"}] * 7}},
        {"prompt": PROMPT, "project": "../x"},
        {"prompt": PROMPT, "other": 1},
    ]
    async with client(sonant.url, key.headers) as caller:
        for body in wrong:
            assert (await caller.post(PATH, json=body)).status_code == 400, body

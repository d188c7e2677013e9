"""Expression measurement over HTTP: from a file, an asset or a URL to one result, and hostile files to a reason."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.media_files import clip, image, picture, voice, wav
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
PATH = "/v1/media/expressions"
HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def ended(caller: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text

    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    return await eventually(check, timeout=160, interval=0.1) or {}


async def measured(caller: httpx.AsyncClient, answer: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of a job, and the whole measurement that it names."""
    job = await ended(caller, answer)
    assert job["state"] == "completed", job["error"]
    whole = await caller.get(job["result"]["url"])
    assert whole.headers["content-type"] == "application/json"
    return job["result"], whole.json()


def series(measurement: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["model"]: each for each in measurement["models"]}


async def test_a_voice_in_the_body_is_measured(sonant: Sonant, key: Key) -> None:
    sound = wav(voice(12.0, pauses=((5.0, 7.0),)))
    async with client(sonant.url, key.headers) as caller:
        answer = await caller.post(PATH, content=sound, headers={"content-type": "audio/wav"}, params={"interval": 4})
        result, whole = await measured(caller, answer)
    assert result["providers"] == ["sandbox"]
    assert whole["media"] == {"kind": "audio", "content_type": "audio/wav", "seconds": 12.0}
    prosody = series(whole)["prosody"]
    assert (prosody["native"], prosody["unit"]) == ("audio.expressions", "probability")
    [speaker] = prosody["tracks"]
    spans = [(sample["begin"], sample["end"]) for sample in speaker["samples"]]
    assert spans == [(0, 4.0), (0, 5.0), (7.0, 11.0), (7.0, 12.0)]
    assert whole["names"]["prosody"]["surprise (positive)"] == "positive-surprise"
    assert set(speaker["samples"][0]["scores"]) == set(whole["names"]["prosody"])
    [short] = [each for each in result["models"] if each["model"] == "prosody"]
    assert short["tracks"][0]["samples"] == 4


async def test_what_is_named_is_asked_of_everybody_in_turn(sonant: Sonant, key: Key) -> None:
    form = {"file": ("a voice.wav", wav(voice(6.0, pitch=120.0, pauses=((2.0, 3.0),))), "text/plain")}
    wanted = "voice,prosody,pauses,burst"
    async with client(sonant.url, key.headers) as caller:
        result, whole = await measured(caller, await caller.post(PATH, files=form, params={"models": wanted}))
    found = series(whole)
    assert set(found) == {"prosody", "voice-attributes", "burst", "voice", "pauses"}
    assert result["providers"] == ["sandbox", "local"]
    [window, _] = found["voice"]["tracks"][0]["samples"]
    assert window["scores"]["pitch_hz"] == pytest.approx(120, rel=0.03)
    [pause] = [each for each in found["pauses"]["tracks"][0]["samples"] if each["end"] - each["begin"] > 0.5]
    assert (pause["begin"], pause["end"]) == (pytest.approx(2.0, abs=0.2), pytest.approx(3.0, abs=0.2))
    assert {each["model"] for each in whole["missing"]} == {"language"}


async def test_faces_of_a_video_keep_their_time_and_place(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4", [picture(1920, 1080)] * 20, samples=voice(2.0)).read_bytes()
    async with client(sonant.url, key.headers) as caller:
        asset = (await caller.post("/v1/assets", content=video)).json()
        assert asset["content_type"] == "video/mp4"
        body = {"asset_id": asset["id"], "models": ["face"], "frames_per_second": 2}
        _, whole = await measured(caller, await caller.post(PATH, json=body))
    [face] = series(whole)["face"]["tracks"]
    assert (face["id"], face["kind"]) == ("face-0", "face")
    assert [sample["begin"] for sample in face["samples"]] == pytest.approx([at / 2 for at in range(4)], abs=0.06)
    # It was shown smaller; the box is where it is in the video.
    assert face["samples"][0]["box"] == {"x": 480.0, "y": 270.0, "width": 960.0, "height": 540.0}
    assert (whole["media"]["width"], whole["media"]["height"]) == (1920, 1080)


async def test_an_image_is_a_moment(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        _, whole = await measured(
            caller, await caller.post(PATH, content=image("PNG"), headers={"content-type": "x/y"})
        )
    assert whole["media"]["kind"] == "image"
    [sample] = series(whole)["face"]["tracks"][0]["samples"]
    assert sample["begin"] == 0


async def test_a_repeated_upload_is_one_job_and_one_file(sonant: Sonant, key: Key) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex, "content-type": "audio/wav"}
    async with client(sonant.url, key.headers) as caller:
        first, second = [await caller.post(PATH, content=wav(voice(1.0)), headers=headers) for _ in range(2)]
        assert second.json()["id"] == first.json()["id"]
        other = await caller.post(PATH, content=wav(voice(1.1)), headers=headers)
        assert other.status_code == 409
        await measured(caller, first)
        page = (await caller.get("/v1/assets", params={"kind": "upload"})).json()["data"]
        assert first.json()["input"]["asset_id"] in [each["id"] for each in page]


WRONG: list[dict[str, Any]] = [
    {},
    {"asset_id": "ast_x"},
    {"asset_id": "ast_" + "0" * 32, "url": "https://example.com/a.wav"},
    {"url": "file:///etc/passwd"},
    {"url": "ftp://example.com/a.wav"},
    {"url": "https://example.com/" + "a" * 9000},
    {"url": "https://example.com/a b"},
    {"url": "https://example.com/a.wav", "models": ["mind"]},
    {"url": "https://example.com/a.wav", "models": ["face"] * 7},
    {"url": "https://example.com/a.wav", "interval": 1},
    {"url": "https://example.com/a.wav", "frames_per_second": 0},
    {"url": "https://example.com/a.wav", "other": 1},
]


async def test_a_wrong_body_is_refused(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        for body in WRONG:
            answer = await caller.post(PATH, json=body)
            assert answer.status_code == 400, (body, answer.text)
        assert (await caller.get("/v1/jobs")).json()["data"] == []


INSIDE = [
    "http://127.0.0.1/a.wav",
    "http://127.0.0.1:5432/",
    "http://localhost/a.wav",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/a.wav",
    "http://192.168.1.1/a.wav",
    "http://[::1]/a.wav",
    "http://[fe80::1]/a.wav",
    "http://[::ffff:127.0.0.1]/a.wav",
    "http://0x7f000001/a.wav",
    "http://2130706433/a.wav",
    "http://user:pass@example.com/a.wav",
    "http://example.com:22/a.wav",
]


async def test_no_url_leads_into_our_network(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        jobs = await asyncio.gather(*(outcome(caller, url) for url in INSIDE))
    assert jobs == [("failed", "url_not_allowed")] * len(INSIDE)


async def outcome(caller: httpx.AsyncClient, url: str) -> tuple[str, str]:
    job = await ended(caller, await caller.post(PATH, json={"url": url}))
    return job["state"], job["error"]["code"]


async def test_files_that_cannot_be_measured_say_why_and_leave_nothing(sonant: Sonant, key: Key) -> None:
    whole = wav(voice(2.0))
    hostile = {
        "unsupported_media_type": [b"hello", HLS, b"%PDF-1.4\n" + bytes(100), b"PK\x03\x04" + bytes(100)],
        "media_unreadable": [whole[:20] + bytes(24), b"\xff\xd8\xff\xe0" + bytes(200), b"fLaC" + HLS],
    }
    before = files_of(sonant, key)
    made = []
    async with client(sonant.url, key.headers) as caller:
        sent = [(code, data) for code, files in hostile.items() for data in files]
        headers = {"content-type": "audio/wav"}
        answers = await asyncio.gather(*(caller.post(PATH, content=data, headers=headers) for _, data in sent))
        jobs = await asyncio.gather(*(ended(caller, answer) for answer in answers))
        for (code, _), job in zip(sent, jobs, strict=True):
            assert (job["state"], job["error"]["code"]) == ("failed", code), job["error"]
            assert "/etc" not in job["error"]["message"]
            made.append(job["input"]["asset_id"])
        empty = await caller.post(PATH, content=b"", headers={"content-type": "audio/wav"})
        assert (empty.status_code, empty.json()["error"]["code"]) == (400, "empty_file")
        assert sorted(files_of(sonant, key)) == sorted([*before, *made])
        for asset_id in made:
            assert (await caller.delete(f"/v1/assets/{asset_id}")).status_code == 200
    assert files_of(sonant, key) == before
    assert [path for path in (sonant.data_dir / "media-scratch").rglob("*") if path.is_file()] == []


async def test_nobody_measures_the_file_of_another_organisation(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        asset = (await caller.post("/v1/assets", content=wav(voice(1.0)))).json()
    stranger = new_key(sonant, scopes=["media"])
    async with client(sonant.url, stranger.headers) as caller:
        job = await ended(caller, await caller.post(PATH, json={"asset_id": asset["id"]}))
    assert (job["state"], job["error"]["code"]) == ("failed", "asset_not_found")


def files_of(sonant: Sonant, key: Key) -> list[str]:
    found = (sonant.data_dir / "objects").rglob("*")
    return [path.name for path in found if path.is_file() and key.organization in path.parts]

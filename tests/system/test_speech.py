"""Speech over HTTP with the official client: streamed to a file, in every format, kept, and nobody else's."""

import asyncio
import base64
import io
import subprocess
import sys
import uuid
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest
from openai import AsyncOpenAI

from tests.support.clients import Key, client, new_key
from tests.support.sonant import Sonant
from tests.support.sound import decoded
from tests.support.waiting import eventually

SONANT = Path(sys.executable).parent / "sonant"
SHORT = "Welcome to our amazing content!"
# Of the stand-in: a syllable takes 0.17 s.
SHORT_SECONDS = 2.25
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def article(sentences: int, about: str = "") -> str:
    """A text of many sentences, none of which was ever said before."""
    about = about or uuid.uuid4().hex[:8]
    return " ".join(
        f"Sentence number {number} of the story called {about} goes on and on." for number in range(sentences)
    )


def wav_seconds(audio: bytes) -> float:
    """How long a WAV plays; a length that is not known in its header is that of the file."""
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return (len(audio) - 44) / (2.0 * int(file.getframerate()))


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


@pytest.fixture
async def speaker(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0, timeout=60) as opened:
        yield opened


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


def charged(sonant: Sonant, provider: str = "hume") -> dict[str, int]:
    told: dict[str, Any] = sonant.sandbox("speech/charges")
    return {"calls": 0, "characters": 0, "repeats": 0, "under_way": 0, **told.get(provider, {})}


def interrupted(sonant: Sonant) -> float:
    """How many requests for speech have ended because their clients left."""
    lines = sonant.ops("media", "/metrics").text.splitlines()
    told = [line for line in lines if line.startswith('sonant_speech_ended_total{outcome="interrupted"')]
    return sum(float(line.split()[-1]) for line in told)


async def test_the_openai_package_streams_speech_to_a_file(speaker: AsyncOpenAI, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    async with speaker.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input=SHORT, instructions="Speak cheerfully.", response_format="wav"
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["x-sonant-provider"] == "sandbox"
        assert answer.headers["x-sonant-voice-provider"] == "hume"
        await answer.stream_to_file(path)
    audio = path.read_bytes()
    assert audio.startswith(b"RIFF")
    assert wav_seconds(audio) == pytest.approx(SHORT_SECONDS, abs=0.2)


@pytest.mark.parametrize("format", FORMATS)
async def test_every_format_plays_as_long_as_its_text_says(speaker: AsyncOpenAI, format: Any) -> None:
    answer = await speaker.audio.speech.create(model="tts-1", voice="alloy", input=SHORT, response_format=format)
    if format == "pcm":
        assert len(answer.content) / 48_000 == pytest.approx(SHORT_SECONDS, abs=0.2)
        return
    codec, seconds = decoded(answer.content)
    assert codec.startswith({"wav": "pcm_s16le"}.get(format, format))
    assert seconds == pytest.approx(SHORT_SECONDS, abs=0.2)


@pytest.mark.parametrize("format", ["wav", "opus"])
async def test_a_long_text_begins_before_it_is_made(speaker: AsyncOpenAI, format: Any) -> None:
    text = article(14)
    chunks, first = [], 0.0
    began = asyncio.get_running_loop().time()
    async with speaker.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=text, response_format=format
    ) as answer:
        async for chunk in answer.iter_bytes():
            first = first or asyncio.get_running_loop().time() - began
            chunks.append(chunk)
    audio = b"".join(chunks)
    _, seconds = decoded(audio)
    assert seconds > 40
    assert first < asyncio.get_running_loop().time() - began
    # The same again is the same, with a header that knows its length.
    again = await speaker.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format=format)
    assert again.response.headers["x-sonant-cache"] == "hit"
    assert decoded(again.content)[1] == pytest.approx(seconds, abs=0.1)


async def test_events_carry_the_same_audio(http: httpx.AsyncClient) -> None:
    body = {"model": "gpt-4o-mini-tts", "voice": "nova", "input": SHORT, "response_format": "wav"}
    plain = (await http.post("/v1/audio/speech", json=body)).content
    answer = await http.post("/v1/audio/speech", json={**body, "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [orjson.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    deltas = [base64.b64decode(event["audio"]) for event in events if event["type"] == "speech.audio.delta"]
    assert b"".join(deltas) == plain
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(("speed", "rate"), [(0.25, 0.25), (0.5, 0.5), (2.0, 2.0), (4.0, 4.0)])
async def test_speed_beyond_what_a_provider_makes_well_is_made_here(
    speaker: AsyncOpenAI, speed: float, rate: float
) -> None:
    answer = await speaker.audio.speech.create(
        model="tts-1", voice="alloy", input=SHORT, response_format="wav", speed=speed
    )
    assert wav_seconds(answer.content) == pytest.approx(SHORT_SECONDS / rate, rel=0.12)


async def test_the_same_phrase_is_paid_once_and_by_each_organisation(sonant: Sonant, key: Key) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": article(1), "response_format": "mp3"}
    before = charged(sonant)
    other = new_key(sonant, scopes=["media"])
    async with client(sonant.url, key.headers) as ours, client(sonant.url, other.headers) as theirs:
        answers = await asyncio.gather(*(ours.post("/v1/audio/speech", json=body) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert charged(sonant)["calls"] - before["calls"] == 1
        again = await ours.post("/v1/audio/speech", json=body)
        assert again.headers["x-sonant-cache"] == "hit"
        # Another format needs no other call.
        await ours.post("/v1/audio/speech", json={**body, "response_format": "wav"})
        assert charged(sonant)["calls"] - before["calls"] == 1
        # What others have said is nobody's business: not even by how long it takes.
        foreign = await theirs.post("/v1/audio/speech", json=body)
        assert foreign.headers["x-sonant-cache"] == "miss"
    assert charged(sonant)["calls"] - before["calls"] == 2


async def test_a_short_text_is_an_asset_at_once(http: httpx.AsyncClient, sonant: Sonant) -> None:
    body = {
        "text": SHORT,
        "voice": "colton_rivers",
        "emotion": {"name": "friendly", "intensity": 0.9},
        "format": "wav",
    }
    answer = await http.post("/v1/media/speech", json=body)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["object"] == "speech"
    assert made["voice"] == "colton_rivers"
    assert made["duration_seconds"] == pytest.approx(SHORT_SECONDS, abs=0.2)
    audio = await http.get(made["url"])
    assert audio.status_code == 200
    assert audio.content.startswith(b"RIFF")
    assert len(audio.content) == made["size"]
    assert wav_seconds(audio.content) == pytest.approx(made["duration_seconds"], abs=0.01)
    again = (await http.post("/v1/media/speech", json=body)).json()
    assert again["asset_id"] == made["asset_id"]
    assert again["cached"]
    assert again["cost_usd"] == 0


async def test_a_long_text_is_a_job(http: httpx.AsyncClient) -> None:
    body = {"text": article(12), "voice": {"content_type": "podcast"}, "format": "mp3"}
    answer = await http.post("/v1/media/speech", json=body)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]

    async def done() -> dict[str, Any] | None:
        job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()
        return job if job["state"] in ("completed", "failed") else None

    job = await eventually(done, timeout=60)
    assert job["state"] == "completed", job
    assert job["result"]["voice"] == "colton_rivers"
    assert {attempt["provider"] for attempt in job["attempts"]} == {"hume"}
    assert job["cost_usd"] > 0
    audio = (await http.get(job["result"]["url"])).content
    codec, seconds = decoded(audio)
    assert codec.startswith("mp3")
    assert seconds == pytest.approx(job["result"]["duration_seconds"], abs=0.2)


async def test_voices_are_listed_with_who_speaks_them(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/media/voices")
    assert answer.status_code == 200, answer.text
    voices = {voice["id"]: voice for voice in answer.json()["voices"]}
    assert len(voices) >= 20
    assert voices["colton_rivers"]["providers"] == ["hume", "openai", "local"]
    assert answer.json()["content_types"]["podcast"] == "colton_rivers"


HOSTILE = {
    "nothing": "",
    "white space": " \n\t ",
    "marks alone": "...!?!... -- ;;",
    "emoji alone": "\U0001f600\U0001f680",
    "a control character": "hello\x00world",
    "an escape": "\x1b[31mred",
    "100 kB": "word " * 20_000,
    "markup": "<speak><prosody rate='slow'>hello</prosody></speak>",
    "markup in a document": "<?xml version='1.0'?><speak>hello</speak>",
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_cannot_be_said_is_refused(http: httpx.AsyncClient, what: str) -> None:
    for path, body in (
        ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": HOSTILE[what]}),
        ("/v1/media/speech", {"text": HOSTILE[what]}),
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] in ("input", "text")


async def test_a_lone_surrogate_is_no_text(http: httpx.AsyncClient) -> None:
    body = b'{"model":"tts-1","voice":"alloy","input":"a \\ud800 b"}'
    answer = await http.post("/v1/audio/speech", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"voice": "nobody-has-this-voice"}, 404, "voice"),
        ({"voice": {"id": str(uuid.uuid4())}}, 404, "voice"),
        ({"voice": {"content_type": "nothing-like-it"}}, 404, "voice"),
        ({"voice": {"id": "a", "name": "b"}}, 400, "voice"),
        ({"model": "gpt-99"}, 404, "model"),
        ({"speed": 4.5}, 400, "speed"),
        ({"speed": 0.1}, 400, "speed"),
        ({"response_format": "midi"}, 400, "response_format"),
        ({"stream_format": "carrier-pigeon"}, 400, "stream_format"),
        ({"instructions": "x" * 1_001}, 400, "instructions"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
async def test_wrong_fields_are_named(http: httpx.AsyncClient, fields: dict[str, Any], status: int, param: str) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": SHORT, **fields}
    answer = await http.post("/v1/audio/speech", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


async def test_a_client_that_hangs_up_stops_the_work(sonant: Sonant, http: httpx.AsyncClient) -> None:
    account = f"{sonant.sandbox_url}/sandbox/hume/accounts/sandbox"
    slow = {"faults": [{"do": "delay-150", "times": None, "path": "/v0/tts"}]}
    before, ended = charged(sonant)["calls"], interrupted(sonant)
    async with httpx.AsyncClient() as plain:
        await plain.put(account, json=slow)
        try:
            body = {"model": "tts-1", "voice": "alloy", "input": article(400), "response_format": "mp3"}
            async with http.stream("POST", "/v1/audio/speech", json=body) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_raw())
            left = charged(sonant)["calls"]

            await eventually(lambda: interrupted(sonant) > ended)
            await eventually(lambda: charged(sonant)["under_way"] == 0)
        finally:
            await plain.put(account, json={})
    # Some were under way, and are finished, for they are paid for. All of it would have been some sixty.
    assert charged(sonant)["calls"] - left <= 8
    assert charged(sonant)["calls"] - before < 40


async def test_a_key_needs_the_scope(sonant: Sonant) -> None:
    key = new_key(sonant)
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as other:
        with pytest.raises(openai.PermissionDeniedError):
            await other.audio.speech.create(model="tts-1", voice="alloy", input=SHORT)


def test_the_command_line_speaks_and_lists_voices(sonant: Sonant, tmp_path: Path) -> None:
    where = ["--url", sonant.url, "--key", sonant.key]
    for name, codec in (("out.wav", "pcm_s16le"), ("out.mp3", "mp3")):
        path = tmp_path / name
        done = subprocess.run(
            [SONANT, "say", SHORT, "--voice", "nova", "-o", path, *where], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "spoken by hume" in done.stdout
        assert decoded(path.read_bytes())[0].startswith(codec)
    listed = subprocess.run([SONANT, "voices", *where], capture_output=True, text=True)
    assert "colton_rivers" in listed.stdout
    wrong = subprocess.run([SONANT, "say", "...", "-o", tmp_path / "x.wav", *where], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert not list(tmp_path.glob("*x.wav*"))

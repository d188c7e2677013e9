"""The stand-ins of expression measurement, as the provider's own client and plain HTTP see them."""

import asyncio
import io
import math
import struct
import uuid
import wave
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from hume_expression_measurement import AsyncExpressionMeasurementClient
from hume_expression_measurement.core.api_error import ApiError
from hume_expression_measurement.environment import ExpressionMeasurementClientEnvironment
from hume_expression_measurement.types.audio_file_config import AudioFileConfig
from hume_expression_measurement.types.video_file_config import VideoFileConfig
from hume_expression_measurement.types.video_file_config_face import VideoFileConfigFace
from PIL import Image

from sandbox.app import serve
from tests.support.waiting import eventually

# The client imports the old names of a library that it does not use here.
pytestmark = pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
async def client(url: str, key: str) -> AsyncIterator[AsyncExpressionMeasurementClient]:
    async with httpx.AsyncClient(timeout=5) as transport:
        environment = ExpressionMeasurementClientEnvironment(base=url, production=url)
        yield AsyncExpressionMeasurementClient(
            environment=environment, api_key=key, max_retries=0, httpx_client=transport
        )


@pytest.fixture
async def http(url: str, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        yield session


def wav(seconds: float, *, silent: bool = False, rate: int = 16_000, channels: int = 1) -> bytes:
    """A tone, or nothing."""
    loudness = 0 if silent else 9_000
    wanted = int(seconds * rate)
    samples = [int(loudness * math.sin(at * 0.1)) for at in range(wanted) for _ in range(channels)]
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return packed.getvalue()


def jpeg(width: int = 640, height: int = 480) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(packed, "JPEG")
    return packed.getvalue()


async def charges(http: aiohttp.ClientSession, key: str) -> dict[str, int]:
    async with http.get(f"/sandbox/hume/accounts/{key}") as answer:
        found: dict[str, int] = (await answer.json())["charges"]
        return found


async def test_audio_is_measured_every_few_seconds_and_at_the_end_of_speech(
    client: AsyncExpressionMeasurementClient, http: aiohttp.ClientSession, key: str
) -> None:
    answer = await client.audio.measure(file=("a.wav", wav(12.0)), config=AudioFileConfig(measurement_timer_ms=5000))
    assert answer.received.audio_duration_ms == 12_000
    assert [(each.audio_start_ms, each.audio_end_ms) for each in answer.utterances] == [(0, 12_000)]
    spans = [(each.trigger, each.audio_start_ms, each.audio_end_ms) for each in answer.measurements]
    assert spans == [("interval", 0, 5000), ("interval", 0, 10_000), ("speech_ended", 2000, 12_000)]
    scores = [score.probability for score in answer.measurements[0].expressions]
    assert scores == sorted(scores, reverse=True)
    assert await charges(http, key) == {"measurement_audio_requests": 1, "measurement_audio_ms": 12_000}
    runs = await client.runs.list(endpoint="audio")
    assert [run.run_id for run in runs.runs] == [answer.run_id]


async def test_silence_has_no_utterance(client: AsyncExpressionMeasurementClient) -> None:
    answer = await client.audio.measure(file=("a.wav", wav(3.0, silent=True)))
    assert (answer.utterances, answer.measurements) == ([], [])


async def test_images_are_measured_in_their_order(client: AsyncExpressionMeasurementClient) -> None:
    answer = await client.video.measure(
        file=[("a.jpg", jpeg(640, 480)), ("b.jpg", jpeg(64, 48))],
        config=VideoFileConfig(face=VideoFileConfigFace(return_face_state=True, min_size=40)),
    )
    assert [len(each.faces) for each in answer.measurements] == [1, 0]
    face = answer.measurements[0].faces[0]
    assert face.bbox == [160, 120, 480, 360]
    assert face.face_id == 0
    assert face.expressions
    assert answer.face_state


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (wav(1.0, rate=48_000), 400, "audio_decode_failed"),
        (wav(1.0, channels=2), 400, "audio_decode_failed"),
        (wav(1.0)[:-100], 400, "audio_decode_failed"),
        (b"", 400, "audio_decode_failed"),
        (b"odd", 400, "audio_decode_failed"),
        (b"ID3\x04" + bytes(100), 415, "unsupported_media_type"),
        (bytes(25_000_001), 413, "audio_too_long"),
    ],
)
async def test_other_audio_is_refused(
    client: AsyncExpressionMeasurementClient, data: bytes, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await client.audio.measure(file=("a", data))
    assert (refused.value.status_code, refused.value.body.code) == (status, code)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x89PNG", 415, "unsupported_media_type"),
        (b"\xff\xd8\xff" + bytes(100), 400, "image_decode_failed"),
        (jpeg() + bytes(2_000_000), 413, "image_too_large"),
        (jpeg(4000, 2100), 413, "image_too_large"),
    ],
)
async def test_other_images_are_refused(
    client: AsyncExpressionMeasurementClient, data: bytes, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await client.video.measure(file=[("a", jpeg()), ("b", data)])
    assert (refused.value.status_code, refused.value.body.code) == (status, code)


async def test_a_job_moves_on_as_it_is_looked_at(http: aiohttp.ClientSession, key: str) -> None:
    order = {"models": {"face": {}, "prosody": {}}, "urls": ["http://x/a.mp4", "http://x/fail-source"]}
    async with http.post("/v0/batch/jobs", json=order) as answer:
        job_id = (await answer.json())["job_id"]
    async with http.get(f"/v0/batch/jobs/{job_id}/predictions") as answer:
        assert answer.status == 400
    seen = []
    for _ in range(2):
        async with http.get(f"/v0/batch/jobs/{job_id}") as answer:
            seen.append((await answer.json())["state"])
    assert [state["status"] for state in seen] == ["IN_PROGRESS", "COMPLETED"]
    assert (seen[1]["num_predictions"], seen[1]["num_errors"]) == (1, 1)
    async with http.get(f"/v0/batch/jobs/{job_id}/predictions") as answer:
        good, bad = await answer.json()
    face = good["results"]["predictions"][0]["models"]["face"]["grouped_predictions"][0]["predictions"][0]
    assert face["box"]["w"] == 64.0
    assert bad["results"]["errors"][0]["message"]
    assert await charges(http, key) == {"batch_jobs": 1, "batch_sources": 2}


async def test_a_job_over_a_file_comes_as_its_client_sends_it(http: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"RIFF....", filename="mine.wav", content_type="application/octet-stream")
    form.add_field("json", b'{"models":{"prosody":{}}}', filename="upload", content_type="application/octet-stream")
    async with http.post("/v0/batch/jobs", data=form) as answer:
        job_id = (await answer.json())["job_id"]
    async with http.get("/v0/batch/jobs", params={"limit": "5", "status": "QUEUED"}) as answer:
        [job] = await answer.json()
    assert job["job_id"] == job_id
    assert job["request"]["files"][0]["filename"] == "mine.wav"


async def test_a_job_calls_back_until_it_is_heard(http: aiohttp.ClientSession, key: str) -> None:
    heard: list[dict[str, Any]] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response(status=500 if len(heard) == 1 else 200)

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        callback = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        async with http.put(f"/sandbox/hume/accounts/{key}", json={"batch_seconds": 0.05}) as answer:
            assert answer.status == 200
        async with http.post("/v0/batch/jobs", json={"urls": ["http://x/a"], "callback_url": callback}) as answer:
            job_id = (await answer.json())["job_id"]
        await eventually(lambda: len(heard) == 2)
    finally:
        await runner.cleanup()
    assert {each["job_id"] for each in heard} == {job_id}
    assert heard[0]["status"] == "COMPLETED"
    assert heard[0]["predictions"][0]["source"] == {"type": "url", "url": "http://x/a"}


async def test_a_lost_answer_is_charged_all_the_same(
    client: AsyncExpressionMeasurementClient, http: aiohttp.ClientSession, key: str
) -> None:
    async with http.put(f"/sandbox/hume/accounts/{key}", json={"faults": [{"do": "lost"}]}):
        pass
    with pytest.raises(httpx.HTTPError):
        await client.audio.measure(file=("a.wav", wav(1.0)))
    await asyncio.sleep(0)
    assert (await charges(http, key))["measurement_audio_requests"] == 1

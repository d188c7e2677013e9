"""The stand-ins of speech keep the contracts of Hume and OpenAI, as seen by their official packages."""

import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import orjson
import pytest
from hume import AsyncHumeClient
from hume.core.api_error import ApiError
from hume.tts.errors import UnprocessableEntityError
from openai import AsyncOpenAI

from sandbox.app import serve
from sandbox.audible_speech import seconds_of
from tests.support.sound import seconds_of_sound

SAID = "Hello there, this is a test."
LIBRARY = {"name": "Ava Song", "provider": "HUME_AI"}
ONCE: Any = {"max_retries": 0, "timeout_in_seconds": 2}
Arrange = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture(scope="module")
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
async def hume(url: str, key: str) -> AsyncIterator[AsyncHumeClient]:
    async with httpx.AsyncClient(timeout=5) as transport:
        yield AsyncHumeClient(base_url=url, api_key=key, httpx_client=transport)


@pytest.fixture(scope="module")
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture
def arrange(http: aiohttp.ClientSession, key: str) -> Arrange:
    async def put(*faults: str) -> None:
        order = {"faults": [{"do": fault} for fault in faults]}
        async with http.put(f"/sandbox/hume/accounts/{key}", json=order) as answer:
            assert answer.status == 200

    return put


def said(text: str = SAID, **fields: Any) -> Any:
    return {"text": text, "voice": LIBRARY, **fields}


class TestHume:
    @pytest.mark.parametrize("format", ["mp3", "wav", "pcm"])
    async def test_json_has_the_audio_twice_and_says_how_long_it_is(self, hume: AsyncHumeClient, format: Any) -> None:
        answer = await hume.tts.synthesize_json(
            utterances=[said(), said("And more.")], format={"type": format}, include_timestamp_types=["word"]
        )
        [made] = answer.generations
        audio = base64.b64decode(made.audio)
        assert made.file_size == len(audio)
        assert made.duration == pytest.approx(seconds_of(SAID) + seconds_of("And more."), abs=0.1)
        assert made.encoding.sample_rate == 48_000
        assert [[snippet.text for snippet in group] for group in made.snippets] == [[SAID], ["And more."]]
        assert made.snippets[0][0].timestamps[0].text == "Hello"
        if format == "pcm":
            assert len(audio) / 96_000 == pytest.approx(made.duration, abs=0.01)
        else:
            assert seconds_of_sound(audio) == pytest.approx(made.duration, abs=0.1)

    async def test_a_file_plays(self, hume: AsyncHumeClient) -> None:
        for send in (hume.tts.synthesize_file, hume.tts.synthesize_file_streaming):
            audio = b"".join([chunk async for chunk in send(utterances=[said()], format={"type": "wav"})])
            assert audio.startswith(b"RIFF")
            assert seconds_of_sound(audio) == pytest.approx(seconds_of(SAID), abs=0.1)

    async def test_a_stream_is_lines_of_json(self, http: aiohttp.ClientSession, key: str) -> None:
        body = {"utterances": [said()], "format": {"type": "wav"}, "strip_headers": False}
        async with http.post("/v0/tts/stream/json", json=body, headers={"x-hume-api-key": key}) as answer:
            lines = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        assert [line["is_last_chunk"] for line in lines] == [False] * (len(lines) - 1) + [True]
        # Each chunk is a file of its own.
        assert all(base64.b64decode(line["audio"]).startswith(b"RIFF") for line in lines)

    async def test_the_package_reads_the_stream_and_passes_over_its_errors(
        self, hume: AsyncHumeClient, arrange: Arrange
    ) -> None:
        def send() -> Any:
            return hume.tts.synthesize_json_streaming(utterances=[said()], format={"type": "pcm"}, strip_headers=True)

        whole = [chunk async for chunk in send()]
        audio = b"".join(base64.b64decode(chunk.audio) for chunk in whole)
        assert len(audio) / 96_000 == pytest.approx(seconds_of(SAID), abs=0.1)
        for fault in ("error-line", "no-last"):
            await arrange(fault)
            # This is why our adapter reads the lines itself.
            assert len([chunk async for chunk in send()]) < len(whole)

    @pytest.mark.parametrize(
        "fields",
        [
            {"utterances": []},
            {"utterances": [said("")]},
            {"utterances": [said(speed=9)]},
            {"utterances": [said(trailing_silence=60)]},
            {"utterances": [said()], "num_generations": 9},
            {"utterances": [{"text": SAID}], "version": "2"},
        ],
    )
    async def test_wrong_shapes_are_422(self, hume: AsyncHumeClient, fields: dict[str, Any]) -> None:
        with pytest.raises(UnprocessableEntityError) as met:
            await hume.tts.synthesize_json(**fields, request_options=ONCE)
        assert met.value.body.detail[0].msg

    async def test_a_stream_without_a_voice_needs_instant_mode_off(self, hume: AsyncHumeClient) -> None:
        with pytest.raises(UnprocessableEntityError):
            _ = [chunk async for chunk in hume.tts.synthesize_file_streaming(utterances=[{"text": SAID}])]
        designed = hume.tts.synthesize_file_streaming(
            utterances=[{"text": SAID, "description": "old and wise"}], instant_mode=False, format={"type": "mp3"}
        )
        assert seconds_of_sound(b"".join([chunk async for chunk in designed])) > 1

    async def test_a_voice_that_is_not_there_is_404_and_no_credits_400(
        self, hume: AsyncHumeClient, arrange: Arrange
    ) -> None:
        voice = {"name": "Nobody", "provider": "CUSTOM_VOICE"}
        with pytest.raises(ApiError) as met:
            await hume.tts.synthesize_json(utterances=[{"text": SAID, "voice": voice}], request_options=ONCE)
        assert met.value.status_code == 404
        await arrange("zero-credits")
        with pytest.raises(ApiError) as met:
            await hume.tts.synthesize_json(utterances=[said()], request_options=ONCE)
        assert (met.value.status_code, met.value.body["code"]) == (400, "E0300")

    async def test_what_is_charged_is_counted(
        self, hume: AsyncHumeClient, http: aiohttp.ClientSession, arrange: Arrange
    ) -> None:
        async def charged() -> dict[str, int]:
            async with http.get("/sandbox/speech/charges") as answer:
                told: dict[str, int] = (await answer.json()).get("hume", {"calls": 0, "characters": 0, "repeats": 0})
                return told

        before, text = await charged(), f"Once more {uuid.uuid4().hex}"
        await hume.tts.synthesize_json(utterances=[said(text)])
        await hume.tts.synthesize_json(utterances=[said(text)])
        # An answer that never arrives costs what it costs.
        await arrange("lost")
        with pytest.raises((ApiError, httpx.HTTPError)):
            await hume.tts.synthesize_json(utterances=[said(text)], request_options=ONCE)
        after = await charged()
        assert after["calls"] - before["calls"] == 3
        assert after["repeats"] - before["repeats"] == 2
        assert after["characters"] - before["characters"] == 3 * len(text)


class TestOpenAi:
    @pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
    async def test_every_format_plays(self, client: AsyncOpenAI, format: Any) -> None:
        answer = await client.audio.speech.create(model="tts-1", voice="alloy", input=SAID, response_format=format)
        if format == "pcm":
            assert len(answer.content) / 48_000 == pytest.approx(seconds_of(SAID), abs=0.1)
        else:
            assert seconds_of_sound(answer.content) == pytest.approx(seconds_of(SAID), abs=0.1)

    async def test_events_are_deltas_and_one_done(self, client: AsyncOpenAI) -> None:
        async with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="coral", input=SAID, response_format="pcm", stream_format="sse"
        ) as answer:
            events = [orjson.loads(line[6:]) async for line in answer.iter_lines() if line.startswith("data: ")]
        audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
        assert len(audio) / 48_000 == pytest.approx(seconds_of(SAID), abs=0.1)
        assert events[-1]["type"] == "speech.audio.done"

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"voice": "nobody"}, "voice"),
            ({"input": ""}, "input"),
            ({"input": "x" * 4_097}, "input"),
            ({"speed": 5}, "speed"),
            ({"response_format": "midi"}, "response_format"),
            ({"model": "tts-1", "stream_format": "sse"}, "stream_format"),
        ],
    )
    async def test_wrong_fields_are_named(self, client: AsyncOpenAI, fields: Any, param: str) -> None:
        given: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": SAID, **fields}
        with pytest.raises(openai.BadRequestError) as met:
            await client.audio.speech.create(**given)
        assert met.value.param == param

    @pytest.mark.parametrize("fault", ["reset-after-1", "drop-after-1"])
    async def test_a_break_is_no_end(self, client: AsyncOpenAI, fault: str) -> None:
        # What is read of a stream raises as its transport does.
        with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
            await client.audio.speech.create(model=f"tts-1+{fault}", voice="alloy", input=SAID, response_format="pcm")

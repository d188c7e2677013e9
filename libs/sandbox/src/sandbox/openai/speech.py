"""POST /v1/audio/speech: audio as bytes or as events, streamed while it is made."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from sandbox.audible_speech import Format, encoded, spoken
from sandbox.openai.calls import FLUSH_SECONDS, Call, Ended
from sandbox.openai.errors import ApiError, invalid
from sandbox.openai.text import count_tokens
from sandbox.sockets import abort
from sandbox.speech_charges import SPEECH_CHARGES

RATE = 24_000
MAX_INPUT = 4_096
SPEEDS = (0.25, 4.0)
CHUNK_BYTES = 16_384
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
VOICES = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "onyx",
    "nova",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
)
# These speak as they do, and stream no events.
PLAIN_MODELS = ("tts-1", "tts-1-hd")
KNOWN = {"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"}


async def answer(call: Call) -> web.StreamResponse:
    """Answer one call."""
    text, format = _checked(call)
    charged = call.request.app[SPEECH_CHARGES].of("openai")
    charged.begin()
    try:
        speed, voice = call.body.get("speed", 1.0), _voice(call.body)
        samples = await asyncio.to_thread(spoken, text, RATE, speed=speed, voice=voice)
        audio = await asyncio.to_thread(encoded, samples, RATE, format)
        manner = {name: value for name, value in call.body.items() if name != "input"}
        charged.add(text, orjson.dumps(manner, option=orjson.OPT_SORT_KEYS).decode())
        if call.body.get("stream_format") == "sse":
            return await _send(call, _events(text, audio), "text/event-stream; charset=utf-8")
        return await _send(call, _chunks(audio), TYPES[format])
    finally:
        charged.end()


async def _chunks(audio: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(audio), CHUNK_BYTES):
        yield audio[at : at + CHUNK_BYTES]


async def _events(text: str, audio: bytes) -> AsyncIterator[bytes]:
    async for chunk in _chunks(audio):
        delta = {"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()}
        yield b"data: %b\n\n" % orjson.dumps(delta)
    asked, made = count_tokens(text), len(audio) // 1_000
    usage = {"input_tokens": asked, "output_tokens": made, "total_tokens": asked + made}
    yield b"data: %b\n\n" % orjson.dumps({"type": "speech.audio.done", "usage": usage})


async def _send(call: Call, chunks: AsyncIterator[bytes], content_type: str) -> web.StreamResponse:
    """Send the chunks at the pace and with the faults that the request names."""
    response = web.StreamResponse(headers={**call.headers(), "content-type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    call.exchange.status = 200
    if call.failure.silence_after_headers:
        await asyncio.Event().wait()
    if call.pace.first:
        await asyncio.sleep(call.pace.first / 1000)
    number = 0
    async for chunk in chunks:
        await _fail(call, response, number)
        if number and call.pace.delay:
            await asyncio.sleep(call.pace.delay / 1000)
        await response.write(chunk)
        call.exchange.chunks_sent += 1
        number += 1
    await _fail(call, response, number)
    await response.write_eof()
    call.exchange.finish("completed")
    return response


async def _fail(call: Call, response: web.StreamResponse, number: int) -> None:
    """The faults that come behind this many chunks."""
    failure = call.failure
    if failure.stall_after == number:
        await asyncio.Event().wait()
    if failure.cut_after == number:
        call.exchange.finish("fault")
        await response.write_eof()
        raise Ended(response)
    if number not in (failure.reset_after, failure.drop_after):
        return
    call.exchange.finish("fault")
    await asyncio.sleep(FLUSH_SECONDS)
    if failure.reset_after == number:
        abort(call.request)
    elif call.request.transport is not None:
        call.request.transport.close()
    raise Ended(response)


def _checked(call: Call) -> tuple[str, Format]:
    """Text and format. Raises ApiError 400."""
    body = call.body
    if unknown := next((name for name in body if name not in KNOWN), None):
        raise invalid(f"Unknown parameter: '{unknown}'.", unknown, "unknown_parameter")
    for name in ("input", "voice"):
        if body.get(name) is None:
            raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    text = body["input"]
    if not isinstance(text, str) or not text:
        raise invalid("Invalid 'input': a text that is not empty is expected.", "input", "invalid_type")
    if len(text) > MAX_INPUT:
        message = f"Invalid 'input': string too long. Expected a string with maximum length {MAX_INPUT}."
        raise invalid(message, "input", "string_above_max_length")
    if _voice(body) not in VOICES:
        raise invalid(f"Invalid value: '{_voice(body)}'. Supported values are: {', '.join(VOICES)}.", "voice")
    _check_delivery(call)
    format: Format = body.get("response_format") or "mp3"
    if format not in TYPES:
        raise invalid(f"Invalid 'response_format': one of {', '.join(TYPES)} is expected.", "response_format")
    return text, format


def _check_delivery(call: Call) -> None:
    body = call.body
    speed = body.get("speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise invalid("Invalid 'speed': a number from 0.25 to 4 is expected.", "speed")
    if not isinstance(body.get("instructions") or "", str):
        raise ApiError(400, "Invalid 'instructions': a text is expected.", param="instructions")
    stream_format = body.get("stream_format") or "audio"
    plain = call.model.split("+")[0] in PLAIN_MODELS
    if stream_format not in ("audio", "sse") or (plain and stream_format == "sse"):
        raise invalid("Invalid 'stream_format'.", "stream_format")


def _voice(body: dict[str, Any]) -> str:
    voice = body.get("voice")
    return str(voice.get("id", "")) if isinstance(voice, dict) else str(voice)

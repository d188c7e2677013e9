"""Speech of the Hume stand-in: whole as JSON or as a file, and streamed as lines of JSON or as bytes."""

import asyncio
import base64
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from sandbox.audible_speech import Format, encoded, spoken, syllables
from sandbox.hume.accounts import LIBRARY
from sandbox.hume.calls import FAULTS, Call, observed
from sandbox.hume.errors import HumeError, json_response, refusal, unprocessable
from sandbox.speech_charges import SPEECH_CHARGES

RATE = 48_000
MAX_UTTERANCES = 50
MAX_TEXT = 5_000
MAX_DESCRIPTION = 1_000
MAX_GENERATIONS = 5
MAX_SILENCE = 5.0
SPEEDS = (0.5, 2.0)
CHUNK_BYTES = 48_000
FORMATS = ("mp3", "wav", "pcm")
TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "application/octet-stream"}
TIMESTAMPS = ("word", "phoneme")


def routes() -> list[web.RouteDef]:
    """The routes of speech."""
    return [
        web.post("/v0/tts", observed(whole_json)),
        web.post("/v0/tts/file", observed(whole_file)),
        web.post("/v0/tts/stream/json", observed(streamed_json)),
        web.post("/v0/tts/stream/file", observed(streamed_file)),
    ]


@dataclass(slots=True)
class Spoken:
    """One utterance as it was said."""

    text: str
    samples: bytes
    snippet_id: str
    words: list[dict[str, Any]]


async def whole_json(call: Call) -> web.Response:
    """The generations with their audio, and the same audio once more in snippets."""
    body = _checked(call, streaming=False)
    count = body.get("num_generations", 1)
    format = _format(body)
    generations = []
    for _ in range(count):
        said = await _say(call, body)
        audio = await _encoded(b"".join(each.samples for each in said), format)
        call.account.generations += 1
        id = str(uuid.uuid4())
        shown = [_snippet(id, index, each, await _encoded(each.samples, format)) for index, each in enumerate(said)]
        generations.append(
            {
                "generation_id": id,
                "audio": base64.b64encode(audio).decode(),
                "duration": sum(len(each.samples) for each in said) / (2 * RATE),
                "file_size": len(audio),
                "encoding": {"format": format, "sample_rate": RATE},
                "snippets": [[each] for each in shown],
            }
        )
    return json_response({"request_id": f"req_{secrets.token_hex(8)}", "generations": generations})


async def whole_file(call: Call) -> web.Response:
    """The audio as a file."""
    body = _checked(call, streaming=False)
    said = await _say(call, body)
    audio = await _encoded(b"".join(each.samples for each in said), _format(body))
    return web.Response(body=audio, content_type="application/octet-stream")


async def streamed_file(call: Call) -> web.Response:
    """The same: what a test does about the pieces of a stream it does by faults."""
    body = _checked(call, streaming=True)
    said = await _say(call, body)
    audio = await _encoded(b"".join(each.samples for each in said), _format(body))
    return web.Response(body=audio, content_type=TYPES[_format(body)])


async def streamed_json(call: Call) -> web.Response:
    """One JSON object a line, and no `data:` in front although the type says event-stream."""
    body = _checked(call, streaming=True)
    said = await _say(call, body)
    format, stripped = _format(body), bool(body.get("strip_headers", False))
    request_id, generation_id = f"req_{secrets.token_hex(8)}", str(uuid.uuid4())
    lines = list[dict[str, Any]]()
    for index, each in enumerate(said):
        pieces = await _pieces(each.samples, format, stripped=stripped)
        for number, piece in enumerate(pieces):
            last = index == len(said) - 1 and number == len(pieces) - 1
            lines.append(_chunk(request_id, generation_id, index, each, piece, last=last) | {"chunk_index": number})
        lines += [_timestamp(request_id, generation_id, each, word) for word in each.words]
    return web.Response(body=_with_faults(call, lines), content_type="text/event-stream")


def _with_faults(call: Call, lines: list[dict[str, Any]]) -> bytes:
    """The lines, with an error among them or without their last one where a fault says so."""
    names = {fault.name for fault in call.request.get(FAULTS, ())}
    if "error-line" in names:
        error = {"type": "error", "code": "E0300", "slug": "zero_credits", "message": "No credits are left."}
        lines = [*lines[: len(lines) // 2], error]
    if "no-last" in names:
        lines = [line for line in lines if not line.get("is_last_chunk")]
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def _chunk(request_id: str, id: str, index: int, said: Spoken, audio: bytes, *, last: bool) -> dict[str, Any]:
    return {
        "type": "audio",
        "audio": base64.b64encode(audio).decode(),
        "audio_format": "pcm",
        "generation_id": id,
        "is_last_chunk": last,
        "request_id": request_id,
        "snippet_id": said.snippet_id,
        "text": said.text,
        "utterance_index": index,
        "snippet": None,
    }


def _timestamp(request_id: str, id: str, said: Spoken, word: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "timestamp",
        "generation_id": id,
        "request_id": request_id,
        "snippet_id": said.snippet_id,
        "timestamp": word,
    }


def _snippet(id: str, index: int, said: Spoken, audio: bytes) -> dict[str, Any]:
    return {
        "id": said.snippet_id,
        "generation_id": id,
        "text": said.text,
        "utterance_index": index,
        "transcribed_text": None,
        "timestamps": said.words,
        "audio": base64.b64encode(audio).decode(),
    }


async def _pieces(samples: bytes, format: Format, *, stripped: bool) -> list[bytes]:
    """The audio in chunks; unless its headers are stripped, each chunk is a file of its own."""
    cut = [samples[at : at + CHUNK_BYTES] for at in range(0, len(samples), CHUNK_BYTES)] or [b""]
    if format == "pcm" or (stripped and format == "wav"):
        return cut
    return [await _encoded(each, format) for each in cut]


async def _encoded(samples: bytes, format: Format) -> bytes:
    return await asyncio.to_thread(encoded, samples, RATE, format)


# -- saying it ---------------------------------------------------------------------------------------------------------


async def _say(call: Call, body: dict[str, Any]) -> list[Spoken]:
    """Every utterance, charged for."""
    charged = call.request.app[SPEECH_CHARGES].of("hume")
    charged.begin()
    try:
        said = [await _say_one(each, body) for each in body["utterances"]]
    finally:
        charged.end()
    manner = {name: value for name, value in body.items() if name != "utterances"}
    for each in body["utterances"]:
        rest = {name: value for name, value in each.items() if name != "text"}
        charged.add(each["text"], orjson.dumps([rest, manner], option=orjson.OPT_SORT_KEYS).decode())
    return said


async def _say_one(utterance: dict[str, Any], body: dict[str, Any]) -> Spoken:
    text, speed = utterance["text"], utterance.get("speed") or 1.0
    voice = utterance.get("voice") or {}
    name = str(voice.get("id") or voice.get("name") or utterance.get("description") or "")
    samples = await asyncio.to_thread(spoken, text, RATE, speed=speed, voice=name)
    samples += bytes(2 * int(RATE * (utterance.get("trailing_silence") or 0)))
    wanted = "word" in (body.get("include_timestamp_types") or ())
    words = _words(text, len(samples) / (2 * RATE)) if wanted else []
    return Spoken(text, samples, str(uuid.uuid4()), words)


def _words(text: str, seconds: float) -> list[dict[str, Any]]:
    """When each word is said, in milliseconds."""
    words = text.split()
    total, at, timed = sum(map(syllables, words)) or 1, 0.0, []
    for word in words:
        end = at + seconds * 1000 * syllables(word) / total
        timed.append({"text": word, "time": {"begin": int(at), "end": int(end)}, "type": "word"})
        at = end
    return timed


# -- what it refuses ---------------------------------------------------------------------------------------------------


def _checked(call: Call, *, streaming: bool) -> dict[str, Any]:
    """The request, if it is one. Raises HumeError 422 for its shape, 404 for a voice that is not there."""
    if any(fault.name == "zero-credits" for fault in call.request.get(FAULTS, ())):
        raise refusal(400, "No credits are left.", code="E0300")
    body = call.body()
    utterances = body.get("utterances")
    if not isinstance(utterances, list) or not 1 <= len(utterances) <= MAX_UTTERANCES:
        raise unprocessable("utterances", f"a list of 1 to {MAX_UTTERANCES} utterances is expected")
    for each in utterances:
        _check_utterance(call, each)
    _check_options(body)
    instant = streaming and body.get("instant_mode", True)
    if instant and not all(each.get("voice") for each in utterances):
        raise unprocessable("instant_mode", "instant mode needs a voice on each utterance")
    if instant and body.get("num_generations", 1) != 1:
        raise unprocessable("num_generations", "instant mode makes one generation")
    if body.get("version") == "2" and not utterances[0].get("voice"):
        raise unprocessable("version", "Octave 2 needs a voice")
    return body


def _check_options(body: dict[str, Any]) -> None:
    count = body.get("num_generations", 1)
    if not _is_number(count) or not 1 <= count <= MAX_GENERATIONS:
        raise unprocessable("num_generations", f"a number from 1 to {MAX_GENERATIONS} is expected")
    if body.get("version", "1") not in ("1", "2"):
        raise unprocessable("version", "'1' or '2' is expected")
    if body.get("context") is not None and not isinstance(body["context"], dict):
        raise unprocessable("context", "an object is expected")
    kinds = body.get("include_timestamp_types", [])
    if not isinstance(kinds, list) or any(each not in TIMESTAMPS for each in kinds):
        raise unprocessable("include_timestamp_types", "'word' and 'phoneme' are known")
    format = body.get("format", {"type": "mp3"})
    if not isinstance(format, dict) or format.get("type") not in FORMATS:
        raise unprocessable("format", "mp3, wav or pcm is expected")


def _check_utterance(call: Call, utterance: Any) -> None:
    if not isinstance(utterance, dict):
        raise unprocessable("utterances", "every utterance is an object")
    text = utterance.get("text")
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
        raise unprocessable("text", f"a text of 1 to {MAX_TEXT} characters is expected")
    description = utterance.get("description") or ""
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
        raise unprocessable("description", f"at most {MAX_DESCRIPTION} characters are expected")
    _check_number("speed", utterance.get("speed"), *SPEEDS)
    _check_number("trailing_silence", utterance.get("trailing_silence"), 0.0, MAX_SILENCE)
    if (voice := utterance.get("voice")) is not None:
        _check_voice(call, voice)


def _check_number(field: str, value: Any, low: float, high: float) -> None:
    if value is not None and (not _is_number(value) or not low <= value <= high):
        raise unprocessable(field, f"a number from {low:g} to {high:g} is expected")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_voice(call: Call, voice: Any) -> None:
    """A voice by id or by name; without a provider it is one of the account's own."""
    if not isinstance(voice, dict) or not (voice.get("id") or voice.get("name")):
        raise unprocessable("voice", "an id or a name is expected")
    by: Callable[[dict[str, Any]], bool] = lambda each: (  # noqa: E731 - one test of two fields
        each["id"] == voice["id"] if voice.get("id") else each["name"] == voice["name"]
    )
    shelf = LIBRARY if voice.get("provider") == "HUME_AI" else call.account.voices.values()
    if not any(by(each) for each in shelf):
        raise _no_voice(voice)


def _no_voice(voice: dict[str, Any]) -> HumeError:
    named = voice.get("id") or voice.get("name")
    return refusal(404, f"voice '{named}' not found", code="E0708")


def _format(body: dict[str, Any]) -> Format:
    format: Format = body.get("format", {"type": "mp3"})["type"]
    return format

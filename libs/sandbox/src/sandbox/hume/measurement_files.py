"""Expression measurement as it is now: a file in, the whole measurement out, and nothing of it kept.

The server is as strict as the provider: 16-bit PCM at 16 kHz, mono, as WAV or without a header, and JPEG images, in
requests of at most 25 MB. What it would charge is counted when it has measured, whether its answer arrives or not.
"""

import io
import itertools
import re
import secrets
import uuid
import wave
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.calls import Call, observed
from sandbox.hume.errors import HumeError, json_response
from sandbox.hume.form_parts import FormPart, form_parts
from sandbox.hume.made_up_scores import FACE_DESCRIPTIONS, FACE_NAMES, VOICE_ATTRIBUTES, VOICE_NAMES, made_up

MAX_REQUEST_BYTES = 25_000_000
MAX_IMAGE_BYTES = 2_000_000
MAX_PIXELS = 8_294_400
RATE = 16_000
WINDOW_SECONDS = 0.5
# One sample in so many is looked at, which is enough to tell speech from silence.
STRIDE = 100
SPEECH = 150
LONGEST_MS = 10_000
DEFAULT_TIMER_MS = 5_000
PAGE = 20
# Where a JPEG says how large it is: the frames that are not lossless or hierarchical.
_FRAME = re.compile(rb"\xff[\xc0-\xc2]..\x08(..)(..)", re.DOTALL)
_OTHER_AUDIO = (b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3", b"RIFX")


def routes() -> list[web.RouteDef]:
    """The routes of files and runs."""
    return [
        web.post("/v1/expression/audio/file", observed(measure_audio)),
        web.post("/v1/expression/video/file", observed(measure_images)),
        web.get("/v1/expression/run", observed(list_runs)),
        web.get("/v1/expression/run/{id}", observed(show_run)),
        web.get("/v1/expression/run/{id}/events", observed(run_events)),
    ]


def refused(status: int, code: str, message: str) -> HumeError:
    """An error of these routes."""
    body = {"type": "error", "code": code, "message": message, "request_id": secrets.token_hex(8)}
    return HumeError(status, body)


async def measure_audio(call: Call) -> web.Response:
    """Utterances and measurements of one audio file."""
    config, files = _form(call, "audio_too_long")
    if len(files) != 1:
        raise refused(400, "invalid_request", "exactly one file part is needed")
    timer = config.get("measurement_timer_ms", DEFAULT_TIMER_MS)
    if not isinstance(timer, int) or not 3000 <= timer <= 10_000:
        raise refused(400, "config_invalid", "measurement_timer_ms is 3000 to 10000")
    samples = _samples(files[0].data)
    utterances = list(_utterances(samples))
    spans = (_spans(number, begin, end, timer) for number, (begin, end) in enumerate(utterances))
    measurements = list(itertools.chain.from_iterable(spans))
    for number, each in enumerate(measurements):
        heard = samples[each["audio_start_ms"] * 16 : each["audio_end_ms"] * 16 : STRIDE].tobytes()
        each["measurement_id"] = number
        each["expressions"] = _scored(VOICE_NAMES, heard)
        each["voice_attributes"] = _scored(VOICE_ATTRIBUTES, heard[::-1])
    duration = len(samples) * 1000 // RATE
    call.account.charges["measurement_audio_requests"] += 1
    call.account.charges["measurement_audio_ms"] += duration
    return _answered(
        call,
        "audio",
        {
            "received": {"audio_duration_ms": duration},
            "utterances": [
                {"utterance_id": number, "audio_start_ms": begin, "audio_end_ms": end}
                for number, (begin, end) in enumerate(utterances)
            ],
            "measurements": measurements,
        },
        duration / 1000,
    )


async def measure_images(call: Call) -> web.Response:
    """The faces of each image: one face, larger where the image is."""
    config, files = _form(call, "image_too_large")
    if not files:
        raise refused(400, "invalid_request", "at least one file part is needed")
    sizes = [_jpeg_size(part.data) for part in files]
    face = config.get("face") or {}
    measurements = [
        {"frame_id": number, "faces": _faces(part.data, size, face)}
        for number, (part, size) in enumerate(zip(files, sizes, strict=True))
    ]
    call.account.charges["measurement_image_requests"] += 1
    call.account.charges["measurement_images"] += len(files)
    body: dict[str, Any] = {"received": {"frames": len(files)}, "measurements": measurements}
    if face.get("return_face_state"):
        body["face_state"] = secrets.token_urlsafe(24)
    return _answered(call, "video", body)


async def list_runs(call: Call) -> web.Response:
    """The runs of an endpoint, newest first."""
    endpoint, start = call.request.query.get("endpoint"), call.request.query.get("cursor", "0")
    if not start.isdecimal():
        raise refused(400, "invalid_request", "the cursor is none of ours")
    runs = [run for run in reversed(call.account.runs) if endpoint in (None, run["endpoint"])]
    page = runs[int(start) : int(start) + PAGE]
    more = {"next_cursor": str(int(start) + PAGE)} if int(start) + PAGE < len(runs) else {}
    return json_response({"runs": page, **more})


async def show_run(call: Call) -> web.Response:
    """One run: that it was, and nothing of what it measured."""
    return json_response(_run(call))


async def run_events(call: Call) -> web.Response:
    """Nothing odd ever happens in a file run."""
    _run(call)
    return json_response({"events": [], "at_cap": False, "capped_kinds": [], "gaps": False})


def _run(call: Call) -> dict[str, Any]:
    for run in call.account.runs:
        if run["run_id"] == call.request.match_info["id"]:
            return run
    raise refused(404, "not_found", "there is no such run")


def _form(call: Call, too_large: str) -> tuple[dict[str, Any], list[FormPart]]:
    if len(call.raw) > MAX_REQUEST_BYTES:
        raise refused(413, too_large, "a request has at most 25 MB")
    try:
        parts = form_parts(call.request.headers.get("content-type", ""), call.raw)
        fields = [orjson.loads(part.data) for part in parts if part.name == "config"]
    except ValueError as wrong:
        raise refused(400, "invalid_request", str(wrong)) from None
    if not all(isinstance(each, dict) for each in fields):
        raise refused(400, "config_invalid", "config is a JSON object")
    return (fields or [{}])[0], [part for part in parts if part.name == "file"]


def _answered(call: Call, endpoint: str, body: dict[str, Any], seconds: float = 0.0) -> web.Response:
    run_id, at = str(uuid.uuid4()), datetime.now(UTC).isoformat()
    run = {
        "run_id": run_id,
        "user_id": "sandbox",
        "status": "ended",
        "endpoint": endpoint,
        "mode": "file",
        "started_at": at,
        "ended_at": at,
        "bytes_received": len(call.raw),
        "bytes_recorded": 0,
        "metered_seconds": seconds,
    }
    call.account.runs.append(run)
    return json_response({"request_id": secrets.token_hex(8), "run_id": run_id, **body})


def _scored(names: tuple[str, ...], data: bytes, least: float = 0.0) -> list[dict[str, Any]]:
    return [{"name": name, "probability": score} for name, score in made_up(names, data, least=least)]


# -- audio -------------------------------------------------------------------------------------------------------------


def _samples(data: bytes) -> memoryview:
    """The samples as 16-bit integers; raises HumeError as the provider would."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        data = _wav_samples(data)
    elif data.startswith(_OTHER_AUDIO) or data[4:8] == b"ftyp" or data[:4] == b"RIFF":
        raise refused(415, "unsupported_media_type", "the server does not convert audio")
    if not data or len(data) % 2:
        raise refused(400, "audio_decode_failed", "these are no 16-bit samples")
    return memoryview(data).cast("h")


def _wav_samples(data: bytes) -> bytes:
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
                raise refused(400, "audio_decode_failed", "the audio is not 16-bit PCM, 16 kHz, mono")
            samples: bytes = file.readframes(file.getnframes())
            if len(samples) != 2 * file.getnframes():
                raise refused(400, "audio_decode_failed", "the file is cut off")
            return samples
    except (wave.Error, EOFError):
        raise refused(400, "audio_decode_failed", "this is no such WAV file") from None


def _utterances(samples: memoryview) -> Iterator[tuple[int, int]]:
    """Where it is loud, in milliseconds."""
    window = int(RATE * WINDOW_SECONDS)
    loud = [
        sum(map(abs, some)) > SPEECH * len(some)
        for some in (samples[at : at + window : STRIDE].tolist() for at in range(0, len(samples), window))
    ]
    at = 0
    for speaking, group in itertools.groupby(loud):
        count = len(list(group))
        if speaking:
            yield int(at * WINDOW_SECONDS * 1000), min(int((at + count) * WINDOW_SECONDS * 1000), len(samples) // 16)
        at += count


def _spans(number: int, begin: int, end: int, timer: int) -> Iterator[dict[str, Any]]:
    """One measurement every `timer` milliseconds of speech, and one at its end unless there was one just before."""
    last = None
    for at in range(begin + timer, end + 1, timer):
        last = at
        yield _span(number, max(begin, at - LONGEST_MS), at, "interval")
    if last is None or end - last >= 1000:
        yield _span(number, max(begin, end - LONGEST_MS), end, "speech_ended")


def _span(number: int, begin: int, end: int, trigger: str) -> dict[str, Any]:
    return {"utterance_id": number, "audio_start_ms": begin, "audio_end_ms": end, "trigger": trigger}


# -- images ------------------------------------------------------------------------------------------------------------


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height; raises HumeError as the provider would."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise refused(415, "unsupported_media_type", "an image is a JPEG")
    if len(data) > MAX_IMAGE_BYTES:
        raise refused(413, "image_too_large", "an image has at most 2 MB")
    frame = _FRAME.search(data)
    if frame is None:
        raise refused(400, "image_decode_failed", "the image cannot be decoded")
    height, width = int.from_bytes(frame[1], "big"), int.from_bytes(frame[2], "big")
    if width * height > MAX_PIXELS:
        raise refused(413, "image_too_large", "an image has at most 8,294,400 pixels")
    return width, height


def _faces(data: bytes, size: tuple[int, int], config: dict[str, Any]) -> list[dict[str, Any]]:
    width, height = size
    if min(width, height) / 2 < config.get("min_size", 0):
        return []
    return [
        {
            "face_id": 0,
            "bbox": [width / 4, height / 4, width * 3 / 4, height * 3 / 4],
            "confidence": 0.99,
            "expressions": _scored(FACE_NAMES, data, least=0.1),
            "descriptions": _scored(FACE_DESCRIPTIONS, data[::-1], least=0.1),
        }
    ]

"""Measurement by Hume's current interface: sound in pieces, pictures in groups, stitched together."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.events.expressions import ExpressionModel
from media.expressions.measured import ExpressionWork, Found, Subject, asked, wanted_of
from media.expressions.paid_calls import paid_once
from media.measurement import worker_calls
from media.measurement.findings import SAMPLE_RATE, FrameFile
from media.measurement.series import Box, ModelSeries, Sample, Track
from media.ports import FileMeasurement

# A request has at most 25 MB: 10 minutes of sound are 19.2 MB.
PIECE_SAMPLES = 600 * SAMPLE_RATE
GROUP_BYTES = 20_000_000
GROUP_FRAMES = 60
PROBABILITY = "probability"


def offered(subject: Subject) -> list[ExpressionModel]:
    """What it can measure of such a file."""
    sound: list[ExpressionModel] = ["prosody"] if subject.facts.has_audio else []
    return sound if subject.facts.kind == "audio" else [*sound, "face"]


async def measure(
    work: ExpressionWork, meter: FileMeasurement, subject: Subject, wanted: Sequence[ExpressionModel]
) -> Found:
    """Raises Refused and ProviderDown."""
    models: list[ModelSeries] = []
    chosen = wanted_of(offered(subject), wanted)
    if "prosody" in chosen:
        models += await _voice(work, meter, subject)
    if "face" in chosen:
        models += await _faces(work, meter, subject)
    return Found(meter.name, models)


# -- sound -------------------------------------------------------------------------------------------------------------


async def _voice(work: ExpressionWork, meter: FileMeasurement, subject: Subject) -> list[ModelSeries]:
    sound = await subject.sound(work)
    cuts = await asked(work, worker_calls.pieces, subject.pcm, PIECE_SAMPLES)
    expressions, attributes = list[Sample](), list[Sample]()
    for number, (begin, end) in enumerate(cuts):
        answer = await _piece(work, meter, subject, number, (begin, end))
        offset = sound.begin + begin / SAMPLE_RATE
        expressions += _samples(answer, "expressions", offset)
        attributes += _samples(answer, "voice_attributes", offset)
        work.percent(10 + 70 * (number + 1) / len(cuts))
    # It does not tell speakers apart.
    return [
        _of_speaker("prosody", "audio.expressions", expressions),
        _of_speaker("voice-attributes", "audio.voice_attributes", attributes),
    ]


async def _piece(
    work: ExpressionWork, meter: FileMeasurement, subject: Subject, number: int, cut: tuple[int, int]
) -> dict[str, Any]:
    timer = round(work.input.interval * 1000)

    async def call() -> dict[str, Any]:
        wav = subject.path.with_name(f"piece-{number}.wav")
        await asked(work, worker_calls.write_wav, subject.pcm, *cut, wav)
        try:
            return await meter.audio(wav, timer)
        finally:
            await asyncio.to_thread(wav.unlink)

    return await paid_once(work, f"audio:{number}:{timer}", meter.name, "audio", call)


def _samples(answer: Mapping[str, Any], scores: str, offset: float) -> Iterator[Sample]:
    for each in answer.get("measurements") or ():
        yield Sample(
            begin=round(offset + each["audio_start_ms"] / 1000, 3),
            end=round(offset + each["audio_end_ms"] / 1000, 3),
            scores=_scores(each.get(scores)),
        )


def _of_speaker(model: str, native: str, samples: Sequence[Sample]) -> ModelSeries:
    tracks = (Track(id="speaker-0", kind="speaker", samples=tuple(samples)),) if samples else ()
    return ModelSeries(model=model, native=native, unit=PROBABILITY, tracks=tracks)


# -- pictures ----------------------------------------------------------------------------------------------------------


async def _faces(work: ExpressionWork, meter: FileMeasurement, subject: Subject) -> list[ModelSeries]:
    frames = await subject.frames(work)
    expressions, descriptions = dict[str, list[Sample]](), dict[str, list[Sample]]()
    groups, state = list(_groups(frames)), None
    for number, group in enumerate(groups):
        answer = await _group(work, meter, number, group, state)
        state = answer.get("face_state") or state
        for frame, measured in zip(group, answer.get("measurements") or (), strict=False):
            for face in measured.get("faces") or ():
                id = _face_id(face)
                expressions.setdefault(id, []).append(_face(frame, face, "expressions"))
                if face.get("descriptions"):
                    descriptions.setdefault(id, []).append(_face(frame, face, "descriptions"))
        work.percent(10 + 70 * (number + 1) / len(groups))
    return [
        _of_faces("face", "video.expressions", expressions),
        _of_faces("face-descriptions", "video.descriptions", descriptions),
    ]


async def _group(
    work: ExpressionWork, meter: FileMeasurement, number: int, group: Sequence[FrameFile], state: str | None
) -> dict[str, Any]:
    paths: list[Path] = [frame.path for frame in group]
    key = f"images:{number}:{work.input.frames_per_second:g}"
    return await paid_once(work, key, meter.name, "images", lambda: meter.images(paths, state))


def _groups(frames: Sequence[FrameFile]) -> Iterator[list[FrameFile]]:
    group, size = list[FrameFile](), 0
    for frame in frames:
        if group and (len(group) >= GROUP_FRAMES or size + frame.size > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(frame)
        size += frame.size
    yield group


def _face_id(face: Mapping[str, Any]) -> str:
    number = face.get("face_id")
    # Faces that are small are listed without being measured, or told apart.
    return "face-unmeasured" if number is None else f"face-{number}"


def _face(frame: FrameFile, face: Mapping[str, Any], scores: str) -> Sample:
    left, top, right, bottom = (float(value) / frame.scale for value in face["bbox"])
    box = Box(x=round(left, 1), y=round(top, 1), width=round(right - left, 1), height=round(bottom - top, 1))
    return Sample(
        begin=round(frame.seconds, 3), scores=_scores(face.get(scores)), box=box, confidence=face.get("confidence")
    )


def _of_faces(model: str, native: str, samples: Mapping[str, Sequence[Sample]]) -> ModelSeries:
    tracks = tuple(Track(id=id, kind="face", samples=tuple(each)) for id, each in sorted(samples.items()))
    return ModelSeries(model=model, native=native, unit=PROBABILITY, tracks=tracks)


def _scores(given: Any) -> dict[str, float]:
    return {str(each["name"]): float(each["probability"]) for each in given or ()}

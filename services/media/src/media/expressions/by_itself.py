"""Measurement without a provider: what can honestly be told here, and which models are not."""

from collections.abc import Sequence

from common.events.expressions import ExpressionModel
from common.storage.model_files import ModelMissing
from media.expressions.measured import ExpressionWork, Found, Subject, asked, wanted_of
from media.measurement import worker_calls
from media.measurement.face_tracks import face_tracks
from media.measurement.findings import FaceBox, Sound, VoiceFeatures, VoiceWindow
from media.measurement.series import Box, MissingModel, ModelSeries, Sample, Track

NAME = "local"
NO_MODEL = "No model that reads {what} is on this machine; a provider has one."
EXPRESSIONS = {
    "face": "expressions of faces",
    "prosody": "expressions of voices",
    "burst": "sounds that are no words",
    "language": "what words express",
}


def offered(subject: Subject) -> list[ExpressionModel]:
    """What can be measured of such a file."""
    sound: list[ExpressionModel] = ["voice", "pauses"] if subject.facts.has_audio else []
    return sound if subject.facts.kind == "audio" else ["face", *sound]


async def measure(work: ExpressionWork, subject: Subject, wanted: Sequence[ExpressionModel]) -> Found:
    """Faces with position and size, and of the voice pitch, energy, pace and pauses. Raises Refused."""
    chosen = wanted_of(offered(subject), wanted)
    models, missing = list[ModelSeries](), list[MissingModel]()
    async with work.attempt(NAME, "measure"):
        if "face" in chosen:
            try:
                models.append(await _faces(work, subject))
            except ModelMissing as error:
                missing.append(MissingModel(model="face", reason=str(error)))
        if {"voice", "pauses"} & set(chosen):
            models += await _voice(work, subject, chosen)
    missing += [
        MissingModel(model=f"{model}-expressions" if model == "face" else model, reason=NO_MODEL.format(what=what))
        for model, what in EXPRESSIONS.items()
        if _could_have(model, subject)
    ]
    return Found(NAME, models, missing)


def _could_have(model: str, subject: Subject) -> bool:
    return subject.facts.kind != "audio" if model == "face" else subject.facts.has_audio


# -- faces -------------------------------------------------------------------------------------------------------------


async def _faces(work: ExpressionWork, subject: Subject) -> ModelSeries:
    model, lab = work.deps.expressions.face_model(), work.deps.expressions
    every = 1.0 / work.input.frames_per_second
    pictures = await asked(work, worker_calls.face_boxes, subject.path, subject.facts, model, every, lab.max_seconds)
    work.percent(50)
    tracks = face_tracks([(each.seconds, [(_box(face), face.confidence) for face in each.faces]) for each in pictures])
    return ModelSeries(
        model="face",
        native="yunet-2023mar",
        unit="detection",
        tracks=tuple(
            Track(
                id=f"face-{track.number}",
                kind="face",
                samples=tuple(Sample(begin=at, box=box, confidence=sure) for at, box, sure in track.seen),
            )
            for track in tracks
        ),
    )


def _box(face: FaceBox) -> Box:
    return Box(x=face.x, y=face.y, width=face.width, height=face.height)


# -- voice -------------------------------------------------------------------------------------------------------------


async def _voice(work: ExpressionWork, subject: Subject, chosen: Sequence[ExpressionModel]) -> list[ModelSeries]:
    sound = await subject.sound(work)
    features: VoiceFeatures = await asked(work, worker_calls.voice_features, subject.pcm, work.input.interval)
    work.percent(80)
    found = {
        "voice": ([_of_window(window, sound) for window in features.windows], "features"),
        "pauses": ([_pause(pause, sound) for pause in features.pauses], "spans"),
    }
    return [
        ModelSeries(
            model=model,
            native=f"{NAME}.{model}",
            unit=unit,
            tracks=(Track(id="speaker-0", kind="speaker", samples=tuple(samples)),) if samples else (),
        )
        for model, (samples, unit) in found.items()
        if model in chosen
    ]


def _of_window(window: VoiceWindow, sound: Sound) -> Sample:
    measured = {
        "pitch_hz": window.pitch_hz,
        "pitch_range_semitones": window.pitch_range_semitones,
        "energy_db": window.energy_db,
        "voiced_share": window.voiced_share,
        "syllables_per_second": window.syllables_per_second,
        "pause_share": window.pause_share,
    }
    scores = {name: value for name, value in measured.items() if value is not None}
    return Sample(begin=round(sound.begin + window.begin, 3), end=round(sound.begin + window.end, 3), scores=scores)


def _pause(pause: tuple[float, float], sound: Sound) -> Sample:
    return Sample(begin=round(sound.begin + pause[0], 3), end=round(sound.begin + pause[1], 3))

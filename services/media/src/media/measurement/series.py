"""The one shape of a measurement, whoever made it: time series per model and per face or speaker, in seconds."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Box(_Frozen):
    """Where something is, in pixels of the media: the top left corner and the size."""

    x: float
    y: float
    width: float
    height: float


class Sample(_Frozen):
    """What was measured from `begin` to `end`, in seconds of the media; None for one moment.

    `scores` has the provider's own names. `confidence` is how sure it is of the face or the words, 0 to 1.
    """

    begin: float
    end: float | None = None
    scores: Mapping[str, float] = Field(default_factory=dict)
    box: Box | None = None
    confidence: float | None = None
    text: str | None = None


class Track(_Frozen):
    """One face or speaker over time, by the provider's own id where it has one."""

    id: str
    kind: Literal["face", "speaker", "text"]
    samples: tuple[Sample, ...]


class ModelSeries(_Frozen):
    """What one model found. `model` is our word for it, `native` the provider's; `unit` says what the scores are."""

    model: str
    native: str
    unit: str
    tracks: tuple[Track, ...]


class MissingModel(_Frozen):
    """A model that was asked for, or that others have, and that did not measure; and why."""

    model: str
    reason: str


class MeasuredMedia(_Frozen):
    """What was measured. `seconds` is 0 for an image."""

    kind: Literal["audio", "video", "image"]
    content_type: str
    seconds: float
    width: int | None = None
    height: int | None = None


class Measurement(_Frozen):
    """The whole of it. `names` maps, per model, the native names to common ones that all providers share."""

    object: Literal["expression.measurement"] = "expression.measurement"
    provider: str
    media: MeasuredMedia
    models: tuple[ModelSeries, ...]
    missing: tuple[MissingModel, ...] = ()
    names: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class TrackSummary(_Frozen):
    """A track in short: how many samples it has, over which time, and its highest means."""

    id: str
    kind: str
    samples: int
    begin: float
    end: float
    means: Mapping[str, float]


class ModelSummary(_Frozen):
    """A model in short."""

    model: str
    native: str
    unit: str
    tracks: tuple[TrackSummary, ...]


# A summary goes into facts and job rows; the whole is a file.
SUMMARY_SCORES = 8
SUMMARY_TRACKS = 16


def summaries(models: Sequence[ModelSeries]) -> tuple[ModelSummary, ...]:
    """The models in short: the longest tracks of each."""
    return tuple(
        ModelSummary(
            model=each.model,
            native=each.native,
            unit=each.unit,
            tracks=tuple(
                _summary(track)
                for track in sorted(each.tracks, key=lambda track: -len(track.samples))[:SUMMARY_TRACKS]
                if track.samples
            ),
        )
        for each in models
    )


def _summary(track: Track) -> TrackSummary:
    totals: dict[str, tuple[float, int]] = {}
    for sample in track.samples:
        for name, score in sample.scores.items():
            total, count = totals.get(name, (0.0, 0))
            totals[name] = total + score, count + 1
    means = {name: round(total / count, 4) for name, (total, count) in totals.items()}
    highest = sorted(means, key=lambda name: (-means[name], name))[:SUMMARY_SCORES]
    ends = [sample.begin if sample.end is None else sample.end for sample in track.samples]
    return TrackSummary(
        id=track.id,
        kind=track.kind,
        samples=len(track.samples),
        begin=min(sample.begin for sample in track.samples),
        end=max(ends),
        means={name: means[name] for name in highest},
    )

"""Which steps of an analysis apply to which files."""

import pytest

from media.content.analysis_steps import NAMES, STEPS, chosen
from media.measurement.findings import MediaFacts

FILM = MediaFacts("video", "video/mp4", 5.0, has_audio=True)
SILENT = MediaFacts("video", "video/mp4", 5.0, has_audio=False)
IMAGE = MediaFacts("image", "image/png", 0.0, has_audio=False)
SOUND = MediaFacts("audio", "audio/wav", 5.0, has_audio=True)


def names(facts: MediaFacts, *wanted: str) -> list[str]:
    return [step.name for step in chosen(facts, wanted)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (FILM, ["shots", "keyframes", "faces", "quality", "embeddings", "sound", "clusters"]),
        (SILENT, ["shots", "keyframes", "faces", "quality", "embeddings", "clusters"]),
        (IMAGE, ["keyframes", "faces", "quality", "embeddings", "clusters"]),
        (SOUND, ["sound", "music"]),
    ],
)
def test_without_names_all_that_apply_are_done(facts: MediaFacts, expected: list[str]) -> None:
    assert names(facts) == expected


def test_what_a_step_needs_is_done_before_it() -> None:
    assert names(FILM, "faces") == ["shots", "keyframes", "faces"]
    assert names(IMAGE, "clusters") == ["keyframes", "embeddings", "clusters"]
    assert names(SOUND, "faces") == []


def test_steps_stand_behind_those_that_they_need() -> None:
    for step in STEPS:
        assert all(NAMES.index(needed) < NAMES.index(step.name) for needed in step.needs)

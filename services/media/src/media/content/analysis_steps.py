"""The table of steps: what applies to which media, in which order, and how a course runs through it."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from common.events.analyses import AnalysisStepName, StepReport
from media.content.analysis_course import AnalysisStep, Course, Unavailable
from media.content.steps import (
    clusters_step,
    embeddings_step,
    faces_step,
    keyframes_step,
    music_step,
    quality_step,
    shots_step,
    sound_step,
)
from media.measurement.findings import Kind, MediaFacts
from media.metrics import ANALYSIS_STEP_SECONDS

VIDEO: frozenset[Kind] = frozenset({"video"})
PICTURES: frozenset[Kind] = frozenset({"video", "image"})
SOUND: frozenset[Kind] = frozenset({"video", "audio"})
MUSIC: frozenset[Kind] = frozenset({"audio"})
STEPS: Sequence[AnalysisStep] = (
    AnalysisStep("shots", shots_step.VERSION, VIDEO, shots_step.run, weight=8.0),
    AnalysisStep("keyframes", keyframes_step.VERSION, PICTURES, keyframes_step.run, ("shots",), weight=3.0),
    AnalysisStep("faces", faces_step.VERSION, PICTURES, faces_step.run, ("keyframes",)),
    AnalysisStep("quality", quality_step.VERSION, PICTURES, quality_step.run, ("keyframes",), weight=0.1),
    AnalysisStep("embeddings", embeddings_step.VERSION, PICTURES, embeddings_step.run, ("keyframes",), weight=3.0),
    AnalysisStep("sound", sound_step.VERSION, SOUND, sound_step.run, weight=2.0),
    AnalysisStep("music", music_step.VERSION, MUSIC, music_step.run, weight=2.0),
    AnalysisStep("clusters", clusters_step.VERSION, PICTURES, clusters_step.run, ("embeddings",)),
)
NAMES = tuple(step.name for step in STEPS)
StepMark = Callable[[str], AbstractAsyncContextManager[None]]


def chosen(facts: MediaFacts, wanted: Sequence[AnalysisStepName]) -> list[AnalysisStep]:
    """The steps that apply to such a file, of those that are wanted and what they need."""
    needed = set(wanted or NAMES)
    for step in reversed(STEPS):
        if step.name in needed:
            needed.update(step.needs)
    return [step for step in STEPS if step.name in needed and facts.kind in step.media and _heard(step, facts)]


def _heard(step: AnalysisStep, facts: MediaFacts) -> bool:
    return step.name not in ("sound", "music") or facts.has_audio


async def run_through(course: Course, steps: Sequence[AnalysisStep], mark: StepMark) -> None:
    """Do the steps in their order. One that needs what is not there is reported so, and the others go on."""
    total, done, told = sum(step.weight for step in steps), 0.0, course.told
    for step in steps:
        course.told = _part(told, done / total, step.weight / total)
        began, reason = time.monotonic(), None
        async with mark(step.name):
            try:
                await step.run(course)
            except Unavailable as error:
                reason = str(error)
        _report(course, step, time.monotonic() - began, reason)
        done += step.weight
        told(done / total)
    course.told = told


def _part(told: Callable[[float], None], begin: float, size: float) -> Callable[[float], None]:
    return lambda share: told(begin + size * min(1.0, max(0.0, share)))


def _report(course: Course, step: AnalysisStep, seconds: float, reason: str | None) -> None:
    outcome = "done" if reason is None else "unavailable"
    ANALYSIS_STEP_SECONDS.labels(step.name, outcome).observe(seconds)
    fields = {} if reason is None else {"reason": reason}
    course.steps[step.name] = StepReport(version=step.version, state=outcome, seconds=round(seconds, 3), **fields)


@asynccontextmanager
async def unmarked(name: str) -> AsyncIterator[None]:
    """For a job that has one step of its own around all of these."""
    yield

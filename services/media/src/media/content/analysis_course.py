"""An analysis on its way: the file, what is wanted, and what the steps have found so far."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.events.analyses import AnalysisStepName, Cluster, StepReport
from common.failures import Refused
from common.jobs.work import Work
from media.analysis.analysis_findings import FaceFound, Footage, Keyframe, Look, SoundFound
from media.content_ports import AnalysisDesk, Item, ModelFiles
from media.measurement.findings import Kind, MediaFacts
from media.measurement.media_error import MediaError

AnyWork = Work[Any, Any]


@dataclass(frozen=True, slots=True)
class AnalysisWish:
    """What is wanted: `steps` empty is all that apply. `name` tells several analyses of one job apart."""

    project: str = "default"
    title: str = ""
    steps: Sequence[AnalysisStepName] = ()
    name: str = "analysis"


class Unavailable(Exception):
    """A step needs what this machine has not; the analysis goes on without it. The message says what."""


@dataclass(slots=True)
class Course:
    """Files that steps make are in `folder`, which goes with the job."""

    work: AnyWork
    desk: AnalysisDesk
    path: Path
    facts: MediaFacts
    wish: AnalysisWish
    folder: Path
    models: ModelFiles
    told: Callable[[float], None]
    footage: Footage | None = None
    keyframes: list[Keyframe] = field(default_factory=list)
    contact_sheet: Path | None = None
    faces: list[FaceFound] = field(default_factory=list)
    quality: Mapping[str, Any] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    face_looks: dict[Path, Look] = field(default_factory=dict)
    looks_by: str = ""
    sound: SoundFound | None = None
    music: Mapping[str, Any] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    clusters: Sequence[Cluster] = ()
    clustering: Mapping[str, Any] = field(default_factory=dict)
    near_duplicates: Sequence[Mapping[str, Any]] = ()
    steps: dict[str, StepReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The same whoever makes it, and however often."""
        return self.id_of("anl", self.wish.name)

    def id_of(self, prefix: str, name: str) -> str:
        """An id of ours for what this analysis makes under a name."""
        return f"{prefix}_{self.work.asset_id(f'{self.wish.name}/{name}').removeprefix('ast_')}"

    async def cpu(self, function: Callable[..., Any], *args: Any, done: Callable[[Any], None] | None = None) -> Any:
        """What a worker process makes of the file. Raises Refused for what is wrong with the file itself."""
        try:
            return await self.work.cpu(function, *args, done=done)
        except MediaError as error:
            raise Refused(422, error.message, error.code) from None


@dataclass(frozen=True, slots=True)
class AnalysisStep:
    """One line of the table of steps: what it applies to, what it needs before, and how much of the whole it is."""

    name: AnalysisStepName
    version: int
    media: frozenset[Kind]
    run: Callable[[Course], Awaitable[None]]
    needs: tuple[AnalysisStepName, ...] = ()
    weight: float = 1.0

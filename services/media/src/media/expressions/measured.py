"""A file on its way through measurement: where it is, what it is, and what was found in it so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.events.expressions import ExpressionModel, ExpressionsInput
from common.failures import ProviderDown, Refused
from common.jobs.work import Work
from media.measurement import worker_calls
from media.measurement.findings import FrameFile, MediaFacts, Sound
from media.measurement.media_error import MediaError
from media.measurement.series import MissingModel, ModelSeries

ExpressionWork = Work[ExpressionsInput, Any]
# Pictures as providers take them.
MAX_SIDE = 1280


class AnswerLost(ProviderDown):
    """The provider was asked and may have measured; its answer did not arrive, and it keeps none.

    Asking again would be paid again.
    """


@dataclass(slots=True)
class Subject:
    """The file of a job. Sound and pictures are unpacked when they are first needed, in the folder of the job."""

    path: Path
    facts: MediaFacts
    url: str | None = None
    warnings: list[str] = field(default_factory=list)
    _sound: Sound | None = None
    _frames: list[FrameFile] | None = None

    @property
    def pcm(self) -> Path:
        return self.path.with_name("sound.pcm")

    @property
    def heard_seconds(self) -> float:
        """How long its sound turned out to be; 0 where nobody listened."""
        return 0.0 if self._sound is None else self._sound.begin + self._sound.seconds

    async def sound(self, work: ExpressionWork) -> Sound:
        """Its sound, as samples in `pcm`. Raises Refused."""
        if self._sound is None:
            most = work.deps.expressions.max_seconds
            found = self.facts.content_type
            self._sound = await asked(work, worker_calls.unpack_sound, self.path, found, self.pcm, most)
            if self._sound.damaged:
                self.warnings.append("Parts of the sound are damaged and were passed over.")
        return self._sound

    async def frames(self, work: ExpressionWork) -> list[FrameFile]:
        """Its pictures, as JPEG files. Raises Refused."""
        if self._frames is None:
            every, most = 1.0 / work.input.frames_per_second, work.deps.expressions.max_seconds
            where = (self.path, self.facts, self.path.parent)
            self._frames = await asked(work, worker_calls.frame_files, *where, every, MAX_SIDE, most)
        return self._frames


@dataclass(frozen=True, slots=True)
class Found:
    """What one provider found; `missing` are models of it that did not measure."""

    provider: str
    models: Sequence[ModelSeries]
    missing: Sequence[MissingModel] = ()
    warnings: Sequence[str] = ()


async def asked(work: ExpressionWork, function: Any, *args: Any) -> Any:
    """What a worker process makes of the file; what is wrong with the file is the job's failure. Raises Refused."""
    run = work.brief if function is worker_calls.probe else work.cpu
    try:
        return await run(function, *args)
    except MediaError as error:
        raise Refused(422, error.message, error.code) from None


def wanted_of(offered: Sequence[ExpressionModel], wanted: Sequence[ExpressionModel]) -> list[ExpressionModel]:
    """Of what a provider offers, what is wanted; all of it where nothing is named."""
    return [model for model in offered if not wanted or model in wanted]

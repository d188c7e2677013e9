"""Where sound is written: worker processes, each of which keeps the writers of the streams that were given to it."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkerLimits, WorkerProcesses, WorkersBusy
from media.speech_ports import Sound

if TYPE_CHECKING:
    from media.adapters.sound_writer import Written

T = TypeVar("T")

# They load what this process never does.
WRITER = "media.adapters.sound_writer"
SPEAKER = "media.adapters.local_speaker"
# A piece of 25 seconds is joined and encoded in a fifth of a second.
WRITER_LIMITS = WorkerLimits(seconds=10.0, niceness=5)
# A minute of speech is made in half a second; the model and its runtime take about 400 MB at most.
SPEAKER_LIMITS = WorkerLimits(seconds=20.0, memory_bytes=768 * 1024 * 1024, niceness=10)


class SoundWorkers:
    """A few processes; a stream stays with the one that it began in, the one with the fewest."""

    def __init__(self, size: int) -> None:
        self._workers = [WorkerProcesses(modules=[WRITER], size=1, limits=WRITER_LIMITS) for _ in range(size)]
        self._streams: Counter[int] = Counter()

    @asynccontextmanager
    async def open(self, org_id: str, format: str, rate: int, *, whole: bool) -> AsyncIterator["WorkerStream"]:
        """A stream of this format. Raises Refused 503."""
        number = min(range(len(self._workers)), key=lambda each: self._streams[each])
        self._streams[number] += 1
        stream = WorkerStream(self._workers[number], org_id, format, rate, whole=whole)
        try:
            yield stream
        finally:
            self._streams[number] -= 1
            await stream.close()

    async def close(self) -> None:
        """End the processes."""
        for workers in self._workers:
            await workers.close()


class WorkerStream:
    """One writer in its process."""

    def __init__(self, workers: WorkerProcesses, org_id: str, format: str, rate: int, *, whole: bool) -> None:
        self._workers = workers
        self._org_id = org_id
        self._format = format
        self._rate = rate
        self._whole = whole
        self._id = uuid.uuid4().hex
        self._begun = False
        self._finished = False
        self._samples = 0

    @property
    def seconds(self) -> float:
        """How long it plays so far."""
        return self._samples / self._rate

    async def feed(self, sound: Sound, pause: float, tempo: float) -> bytes:
        """The bytes that a piece adds. Raises Refused 503."""
        begin = None if self._begun else (self._format, self._rate, self._whole)
        self._begun = True
        piece = (sound.samples, sound.rate, sound.provider, pause, tempo)
        return self._noted(await self._run(_feed, self._id, piece, begin))

    async def finish(self) -> bytes:
        """The rest. Raises Refused 503."""
        self._finished = True
        return self._noted(await self._run(_finish, self._id))

    async def close(self) -> None:
        """Have the writer forgotten, if its stream was given up."""
        if self._begun and not self._finished:
            # It is bounded in number there, so that one which is overlooked does no harm.
            with suppress(Refused):
                await self._run(_forget, self._id)

    def _noted(self, written: "Written") -> bytes:
        self._samples += written.samples
        return written.data

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        try:
            return await self._workers.run(self._org_id, function, *args)
        except (TooDear, WorkersBusy, LookupError) as error:
            message = f"The sound could not be written: {error}. Try again in a moment."
            raise Refused(503, message, "busy", type="server_error", headers={"retry-after": "1"}) from None


# -- what runs in the process ------------------------------------------------------------------------------------------


def _feed(id: str, piece: "tuple[bytes, int, str, float, float]", begin: "tuple[str, int, bool] | None") -> "Written":
    from media.adapters import sound_writer

    if begin is not None:
        sound_writer.begin(id, sound_writer.Writing(*begin))
    return sound_writer.feed(id, sound_writer.Piece(*piece))


def _finish(id: str) -> "Written":
    from media.adapters import sound_writer

    return sound_writer.finish(id)


def _forget(id: str) -> None:
    from media.adapters import sound_writer

    sound_writer.forget(id)

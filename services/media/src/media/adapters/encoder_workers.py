"""Vectors and second looks by the models on this machine, in processes of their own.

Questions have a process of their own that ranks with everything else: somebody talks and waits. What is taken in waits
for the processes that rank behind.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from common.failures import ProviderDown
from common.kernel.worker_processes import TooDear, WorkerLimits, WorkerProcesses, WorkersBusy, open_workers
from common.storage.model_files import ModelMissing
from media.retrieval import encoders
from media.retrieval_ports import model_missing

GIGABYTE = 1024 * 1024 * 1024
# Several batches, so that a conversation elsewhere finds the processor free again soon.
TEXTS_AT_ONCE = 64
ASKED = WorkerLimits(seconds=20.0, memory_bytes=GIGABYTE, niceness=0, wait_seconds=5.0, idle_seconds=3600.0)
TAKEN_IN = WorkerLimits(seconds=120.0, memory_bytes=GIGABYTE, niceness=10, wait_seconds=None)


class LocalEncoder:
    """The port `Encoder`."""

    def __init__(self, folder: Path, model: str, asked: WorkerProcesses, taken_in: WorkerProcesses) -> None:
        self.model = model
        self._folder = folder
        self._asked = asked
        self._taken_in = taken_in

    async def embed(self, share: str, texts: Sequence[str]) -> list[str]:
        vectors: list[str] = []
        for at in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[at : at + TEXTS_AT_ONCE]
            async with _told():
                vectors += await self._taken_in.run(share, encoders.embed, self._folder, self.model, some, 1)
        return vectors

    async def question(self, share: str, text: str) -> str:
        async with _told():
            # With a second thread it is no sooner there, and the words are looked up meanwhile.
            [vector] = await self._asked.run(share, encoders.embed, self._folder, self.model, [text], 1, True)
        return vector


class LocalReranker:
    """The port `Reranker`."""

    def __init__(self, folder: Path, model: str, asked: WorkerProcesses) -> None:
        self._folder = folder
        self._model = model
        self._asked = asked

    async def rerank(self, share: str, query: str, texts: Sequence[str]) -> list[float]:
        async with _told():
            return await self._asked.run(share, encoders.rerank, self._folder, self._model, query, list(texts), 2)


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What went wrong, as callers know it."""
    try:
        yield
    except ModelMissing as error:
        raise model_missing(str(error)) from None
    except (TooDear, WorkersBusy) as error:
        raise ProviderDown(f"the models of this machine are too slow at the moment: {error}") from error


def open_asked() -> AbstractAsyncContextManager[WorkerProcesses]:
    """The process for questions; it goes when nobody has asked for a while."""
    return open_workers((encoders.__name__,), size=1, limits=ASKED)


def open_taken_in(size: int) -> AbstractAsyncContextManager[WorkerProcesses]:
    """The processes for what is taken in, behind everything else."""
    return open_workers((encoders.__name__,), size=size, limits=TAKEN_IN)

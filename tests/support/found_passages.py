"""Passages as a search would find them, and somebody who finds them in a test."""

import asyncio
from collections.abc import Sequence

from common.events.search import Passage, SearchRequested, SearchResults, StageScores


def passage(text: str, *, number: int = 1, score: float = 2.0, cosine: float | None = 0.6, **other: object) -> Passage:
    """One passage of a handbook."""
    fields = {
        "id": f"chk_{number}",
        "document_id": f"doc_{number:032x}",
        "document": "Handbook.pdf",
        "collection": "default",
        "version": 1,
        "ordinal": number,
        "heading": "Returns",
        "page": 3,
        "text": text,
        "start": 0,
        "end": len(text),
        "metadata": {},
        "score": score,
        "scores": StageScores(vector=cosine),
    }
    return Passage.model_validate({**fields, **other})


class Shelf:
    """Finds what it holds, after `seconds`, or fails with `error`; `asked` is what was searched for."""

    def __init__(self, *held: Passage, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.held: Sequence[Passage] = held
        self.seconds = seconds
        self.error = error
        self.asked: list[SearchRequested] = []

    async def search(self, wanted: SearchRequested, *, timeout: float) -> SearchResults:
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        async with asyncio.timeout(timeout):
            await asyncio.sleep(self.seconds)
        return SearchResults(
            object="search.results",
            mode=wanted.mode,
            model="all-minilm-l6-v2",
            data=tuple(self.held[: wanted.k]),
            seconds={},
        )

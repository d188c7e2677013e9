"""Documents over HTTP: taken in, found, changed, and taken away."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
MANUAL = """# The lamp

The lamp has a brass foot and a shade of green glass.

## Cleaning

Unplug the lamp. Wipe the glass with a damp cloth, and never with spirit: it takes the colour off.

## Warranty

Whoever bought the lamp has a warranty of thirty months from the day on the receipt.
"""


@pytest.fixture
def key(sonant: Sonant, text_models: Path) -> Key:
    return new_key(sonant, scopes=["media"])


async def ended(caller: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text

    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    return await eventually(check, timeout=160, interval=0.1) or {}


async def taken_in(caller: httpx.AsyncClient, **document: Any) -> dict[str, Any]:
    """The result of the job that took a document in."""
    job = await ended(caller, await caller.post("/v1/documents", json=document))
    assert job["state"] == "completed", job["error"]
    result: dict[str, Any] = job["result"]
    return result


async def found(caller: httpx.AsyncClient, query: str, **search: Any) -> list[dict[str, Any]]:
    answer = await caller.post("/v1/search", json={"query": query, **search})
    assert answer.status_code == 200, answer.text
    passages: list[dict[str, Any]] = answer.json()["data"]
    return passages


async def test_what_was_taken_in_is_found_by_word_and_by_meaning(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        result = await taken_in(caller, name="manual.md", text=MANUAL, metadata={"product": "lamp"})
        assert (result["version"], result["chunks"], result["content_type"]) == (1, 3, "text/markdown")
        for mode in ("lexical", "vector", "fused", "reranked"):
            best = (await found(caller, "How long is the warranty?", mode=mode))[0]
            assert best["heading"] == "The lamp > Warranty", mode
            assert best["text"] == MANUAL[best["start"] : best["end"]] or "thirty months" in best["text"]
            assert (best["document"], best["metadata"]) == ("manual.md", {"product": "lamp"})
        # Not a word of it stands there.
        [best, *_] = await found(caller, "May I use alcohol on it?", mode="vector")
        assert best["heading"] == "The lamp > Cleaning"

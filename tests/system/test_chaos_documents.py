"""Documents taken in while media and the database are killed: no chunk is missing, none is there twice."""

import asyncio
import functools
import random
from typing import Any

import asyncpg
import httpx

from tests.support.clients import client, new_key
from tests.support.models import fetched
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

DOCUMENTS = 8
KILLS = 5
ENDED = ("completed", "failed", "cancelled")
# A chunk for each sentence with what is around it; each document has some.
SENTENCE = "In the year {year} the lamp number {number} was made of brass, with a shade of green glass. "
CHECK = """
SELECT d.name, d.version, d.chunks, count(c.id) AS there, count(DISTINCT c.ordinal) AS apart,
    count(v.chunk_id) AS vectors,
    bool_and(c.version = d.version) AS same, min(c.ordinal) AS first, max(c.ordinal) AS last
FROM media.documents AS d LEFT JOIN media.chunks AS c ON c.document_id = d.id
LEFT JOIN media.chunk_vectors AS v ON v.chunk_id = c.id GROUP BY d.id
"""


def text(number: int, version: int) -> str:
    return "".join(SENTENCE.format(year=1900 + at + version, number=number) for at in range(60))


async def test_no_chunk_is_missing_and_none_is_there_twice() -> None:
    dice = random.Random(16)
    models = fetched("all-minilm-l6-v2", "minilm-l4-reranker")
    with sonant_system(env={"SONANT_MODELS_DIR": str(models)}) as sonant:
        key = new_key(sonant, scopes=["media"])
        async with client(sonant.url, key.headers) as caller:
            jobs = [await submitted(caller, number, version) for version in (1, 2) for number in range(DOCUMENTS)]
            await killing(sonant, dice)
            ends = [await ended(caller, job) for job in jobs]
        assert {end["state"] for end in ends} == {"completed"}, ends
        await check(sonant)


async def submitted(caller: httpx.AsyncClient, number: int, version: int) -> str:
    body = {"name": f"document {number}", "text": text(number, version)}
    answer = await caller.post("/v1/documents", json=body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def killing(sonant: Sonant, dice: random.Random) -> None:
    """Both die at any moment, media also in the middle of a transaction."""
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.3, 2.0))
        name = dice.choice(["media", "media", "postgres"])
        pid = sonant.pid(name)
        sonant.kill(name)
        await eventually(functools.partial(_again, sonant, name, pid), timeout=120)


async def _again(sonant: Sonant, name: str, pid: int) -> bool:
    return sonant.pid(name) != pid and sonant.ready("media")


async def ended(caller: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        answer = await caller.get(f"/v1/jobs/{job_id}")
        return answer.json() if answer.status_code == 200 and answer.json()["state"] in ENDED else None

    return await eventually(look, timeout=170, interval=0.3) or {}


async def check(sonant: Sonant) -> None:
    connection = await asyncpg.connect(sonant.urls()["database"])
    try:
        rows = [dict(row) for row in await connection.fetch(CHECK)]
    finally:
        await connection.close()
    assert len(rows) == DOCUMENTS
    for row in rows:
        assert row["version"] in (1, 2)
        assert row["chunks"] > 5
        assert row["same"]
        assert row["there"] == row["apart"] == row["vectors"] == row["chunks"] == row["last"] - row["first"] + 1, row

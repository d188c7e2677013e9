"""Songs asked for over HTTP: catalogues, jobs and searches."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx

from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
JOB_SECONDS = 160.0
CATALOGUE: Sequence[Mapping[str, Any]] = [
    {
        "external_id": "a1",
        "title": "Blue Harbour",
        "artist": "Oona Vale",
        "genres": ["folk"],
        "year": 1994,
        "tempo": 82,
    },
    {"external_id": "a2", "title": "Harbour at Night", "artist": "Oona Vale", "genres": ["folk"], "year": 1999},
    {"external_id": "a3", "title": "Machine Garden", "artist": "Static Choir", "genres": ["techno"], "tempo": 132},
    {"external_id": "a4", "title": "Steel Garden", "artist": "Static Choir", "genres": ["techno"], "tempo": 138},
    {
        "external_id": "a5",
        "title": "Paper Lanterns",
        "artist": "Marlow",
        "genres": ["jazz"],
        "key": "C",
        "mode": "minor",
    },
]


def as_json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def asset(caller: httpx.AsyncClient, data: bytes, name: str = "file") -> str:
    """An uploaded file; returns its id."""
    answer = await caller.post("/v1/assets", content=data, params={"name": name})
    assert answer.status_code == 201, answer.text
    return cast("str", answer.json()["id"])


async def ended(caller: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """The job that was begun, once it has ended."""
    assert answer.status_code == 202, answer.text

    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    return await eventually(check, timeout=JOB_SECONDS, interval=0.1) or {}


async def result(caller: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a job that must go well."""
    job = await ended(caller, await caller.post(path, json=body))
    assert job["state"] == "completed", job["error"]
    found: dict[str, Any] = job["result"]
    return found


async def found(caller: httpx.AsyncClient, **asked: Any) -> list[dict[str, Any]]:
    """The matches of a search, nearest first. On a busy machine what is asked with may not be listened to in time."""

    async def check() -> list[dict[str, Any]] | None:
        answer = await caller.post("/v1/songs/search", json=asked)
        if answer.status_code in (503, 504):
            return None
        assert answer.status_code == 200, answer.text
        return [answer.json()]

    [matches] = await eventually(check, timeout=JOB_SECONDS, interval=0.5) or [{}]
    return list(matches["data"])


def titles(matches: Sequence[Mapping[str, Any]]) -> list[str]:
    return [match["song"]["title"] for match in matches]

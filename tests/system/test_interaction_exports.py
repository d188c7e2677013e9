"""Interactions are exported to a file: each once, masked, of the caller's organisation, and as the filters say."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import httpx

from tests.support.clients import client
from tests.support.ingest import BATCH, command, fates, ingest_key, interaction
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

EXPORTS = "/v2/exports"
SECONDS = 60


async def report(http: httpx.AsyncClient, *items: dict[str, Any]) -> None:
    told = (await http.post(BATCH, json={"items": list(items)})).json()
    await fates(http, told["batch_id"])


async def exported(http: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    """The job of an export, once it has ended."""
    accepted = await http.post(EXPORTS, json=wanted)
    assert accepted.status_code == 202, accepted.text
    assert accepted.headers["location"] == f"{EXPORTS}/{accepted.json()['id']}"
    job: dict[str, Any] = {}

    async def ended() -> bool:
        job.update((await http.get(accepted.headers["location"])).json())
        return job["state"] in ("completed", "failed")

    await eventually(ended, timeout=SECONDS)
    assert job["state"] == "completed", job
    return job


async def lines(http: httpx.AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    job = await exported(http, **wanted)
    body = (await http.get(job["result"]["url"])).text
    found = [json.loads(line) for line in body.splitlines()]
    assert job["result"]["rows"] == len(found)
    return found


async def test_every_format_tells_the_same_of_each_interaction_once(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    steps = [{"name": "retrieve", "output": {"found": 2}}]
    odd = 'a "quoted", text\nof two lines; write to someone@example.com'
    async with client(sonant.url, key.headers) as http:
        first = interaction(0, user_prompt=odd, step_data=steps, total_tokens=7, cost_usd=0.25, tags=["a", "b"])
        await report(http, first, *(interaction(number) for number in range(1, 30)))
        score = await http.post(f"/v2/interactions/{first['id']}/scores", json={"name": "helpful", "value": 1})
        await fates(http, score.json()["batch_id"])
        told = await lines(http)
        assert [line["user_prompt"] for line in told[1:]] == [f"question {number}" for number in range(1, 30)]
        # What was masked when it was stored is so in the file.
        assert told[0]["user_prompt"] == odd.replace("someone@example.com", "[email]")
        assert (told[0]["total_tokens"], told[0]["cost_usd"], told[0]["tags"]) == (7, 0.25, ["a", "b"])
        assert [(step["name"], step["output"]) for step in told[0]["steps"]] == [("retrieve", {"found": 2})]
        assert [(each["name"], each["value"]) for each in told[0]["scores"]] == [("helpful", 1.0)]

        job = await exported(http, format="csv")
        rows = list(csv.DictReader(io.StringIO((await http.get(job["result"]["url"])).text)))
        assert [row["id"] for row in rows] == [line["id"] for line in told]
        assert rows[0]["user_prompt"] == told[0]["user_prompt"]
        assert json.loads(rows[0]["steps"]) == told[0]["steps"]

        job = await exported(http, format="parquet")
        file = await http.get(job["result"]["url"])
        assert file.headers["content-type"] == "application/vnd.apache.parquet"
        assert (len(file.content), file.headers["etag"]) == (job["result"]["size"], f'"{job["result"]["sha256"]}"')
    path = sonant.data_dir / "exported.parquet"
    path.write_bytes(file.content)
    columns = 'SELECT id, user_prompt, total_tokens, "at" FROM read_parquet($1)'
    found = duckdb.connect().execute(columns, [str(path)]).fetchall()
    path.unlink()
    assert found == [(line["id"], line["user_prompt"], line["total_tokens"], line["at"]) for line in told]


async def test_the_filters_choose_and_nobody_sees_what_is_of_others(sonant: Sonant) -> None:
    key, other = ingest_key(sonant), ingest_key(sonant)
    chosen = {"session_id": "s-1", "user_id": "me@example.com", "llm_model": "m-1", "project_id": "p", "mode": "dev"}
    async with client(sonant.url, key.headers) as http, client(sonant.url, other.headers) as strangers:
        await report(http, interaction(1, **chosen), interaction(2, timestamp="2026-01-01T00:00:00Z"))
        names = {"session_id": "s-1", "user_id": "me@example.com", "model": "m-1", "project_id": "p", "mode": "dev"}
        for name, value in names.items():
            assert [line["user_prompt"] for line in await lines(http, **{name: value})] == ["question 1"], name
        assert await lines(http, model="m-2") == []
        job = await exported(http, **names)
        assert "me@example.com" not in json.dumps(job)
        assert await lines(strangers) == []
        for method, path in (("GET", ""), ("GET", "/file"), ("POST", "/link"), ("POST", "/cancel"), ("GET", "/events")):
            answer = await strangers.request(method, f"{EXPORTS}/{job['id']}{path}")
            assert answer.status_code == 404, path
        assert [each["id"] for each in (await strangers.get(EXPORTS)).json()["data"]] != [job["id"]]
        for wrong in ({"format": "xlsx"}, {"since": 2, "until": 1}, {"limit": 1}, {"since": "yesterday"}):
            assert (await http.post(EXPORTS, json=wrong)).status_code == 400, wrong
    reader = ingest_key(sonant, key.organization, scopes=["ingest", "media"])
    async with client(sonant.url, reader.headers) as http:
        assert (await http.post(EXPORTS, json={})).status_code == 403
        assert (await http.get(f"{EXPORTS}/{job['id']}/file")).status_code == 403


async def test_a_link_needs_no_key_and_fits_one_file(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    async with client(sonant.url, key.headers) as http:
        await report(http, interaction(1))
        job, another = await exported(http), await exported(http)
        link = (await http.post(f"{EXPORTS}/{job['id']}/link", json={"expires_in": 60})).json()
    async with client(sonant.url, {}) as http:
        file = await http.get(link["url"])
        assert (file.status_code, json.loads(file.text)["user_prompt"]) == (200, "question 1")
        part = await http.get(link["url"], headers={"range": "bytes=0-4"})
        assert (part.status_code, part.content) == (206, file.content[:5])
        assert (await http.get(link["url"].replace(job["id"], another["id"]))).status_code == 401
        assert (await http.get(link["url"].replace(EXPORTS, "/v1/assets"))).status_code == 404


async def test_the_command_line_fetches_an_export(sonant: Sonant, tmp_path: Path) -> None:
    key = ingest_key(sonant)
    async with client(sonant.url, key.headers) as http:
        await report(http, interaction(1), interaction(2))
    file = tmp_path / "interactions.csv"
    said = await command(sonant, "interactions", "export", "-o", str(file), "--mode", "prod", "--key", key.text)
    assert said == f"2 interactions in {file}\n"
    assert [row["user_prompt"] for row in csv.DictReader(io.StringIO(file.read_text()))] == ["question 1", "question 2"]
    assert [each.name for each in tmp_path.iterdir()] == ["interactions.csv"]

"""Jobs over HTTP: accepted, watched, read, ended, begun anew; nobody sees another organisation's."""

import asyncio
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, cast

import httpx
import orjson

from tests.support.clients import Key, client, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
TINY = {"prompt": "a red kite over the sea", "model": "local", "duration": 0.5, "width": 160, "height": 96}
LONG = {**TINY, "duration": 25.0, "width": 640, "height": 360}


def owner(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def events(
    caller: httpx.AsyncClient, job_id: str, after: str | None = None, most: int = 10_000
) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, name and data of each event, until the stream or what was asked for is over."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    headers = {} if after is None else {"Last-Event-ID": after}
    async with caller.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            elif fields:
                found.append((fields["id"], fields["event"], orjson.loads(fields["data"])))
                fields = {}
            if len(found) >= most:
                break
    return found


async def ended(caller: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(f"/v1/jobs/{job_id}")).json()
        return job if job["state"] in ENDED else None

    return cast("dict[str, Any]", await eventually(check, timeout=90, interval=0.1))


async def test_a_video_is_made_and_watched(sonant: Sonant) -> None:
    key = owner(sonant)
    async with client(sonant.url, key.headers) as caller:
        answer = await caller.post("/v1/media/video", json=TINY)
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        # Known at once, whatever the service is at.
        assert (await caller.get(f"/v1/jobs/{job['id']}")).status_code == 200
        seen = await events(caller, job["id"])
        names = [name for _, name, _ in seen]
        assert names[0] == "queued"
        assert names[-1] == "completed"
        assert "step" in names
        result = seen[-1][2]["job"]["result"]
        assert (result["width"], result["height"], result["codec"]) == (160, 96, "h264")
        ids = [id for id, _, _ in seen]
        assert len(set(ids)) == len(ids)
        # Behind any of them the rest comes again, and nothing twice.
        behind = await events(caller, job["id"], after=ids[1])
        milestones = [id for id, name, _ in seen[2:] if name != "progress"]
        assert [id for id, name, _ in behind if name != "progress"] == milestones
        assert await events(caller, job["id"], after=ids[-1]) == []


async def test_an_idempotency_key_makes_one_job(sonant: Sonant) -> None:
    key = owner(sonant)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    async with client(sonant.url, key.headers) as caller:
        first = await caller.post("/v1/media/video", json=TINY, headers=headers)
        again = await caller.post("/v1/media/video", json=TINY, headers=headers)
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"
        other = await caller.post("/v1/media/video", json={**TINY, "prompt": "another"}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        listed = (await caller.get("/v1/jobs")).json()
        assert [job["id"] for job in listed["data"]] == [first.json()["id"]]


async def test_a_job_is_ended_listed_and_begun_anew(sonant: Sonant) -> None:
    key = owner(sonant)
    async with client(sonant.url, key.headers) as caller:
        ids = [(await caller.post("/v1/media/video", json=LONG)).json()["id"] for _ in range(3)]
        for job_id in ids:
            assert (await caller.post(f"/v1/jobs/{job_id}/cancel")).status_code in (200, 202)
            assert (await ended(caller, job_id))["state"] == "cancelled"
        first = (await caller.get("/v1/jobs", params={"limit": 2})).json()
        assert [job["id"] for job in first["data"]] == ids[:0:-1]
        assert first["has_more"]
        rest = (await caller.get("/v1/jobs", params={"limit": 2, "after": ids[1]})).json()
        assert [job["id"] for job in rest["data"]] == ids[:1]
        assert (await caller.get("/v1/jobs", params={"state": "completed"})).json()["data"] == []
        retried = await caller.post(f"/v1/jobs/{ids[0]}/retry")
        assert (retried.status_code, retried.json()["round"]) == (202, 2)
        await caller.post(f"/v1/jobs/{ids[0]}/cancel")
        assert (await caller.post(f"/v1/jobs/{ids[0]}/cancel")).status_code in (200, 202)
        async with client(sonant.url, owner(sonant).headers) as stranger:
            for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")):
                answer = await stranger.request(method, f"/v1/jobs/{ids[0]}{path}")
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")
            assert (await stranger.get("/v1/jobs", params={"after": ids[0]})).status_code == 404
        await ended(caller, ids[0])


async def test_what_is_wrong_with_a_request_is_said(sonant: Sonant) -> None:
    async with client(sonant.url, owner(sonant).headers) as caller:
        for body, param in (
            ({**TINY, "prompt": ""}, "prompt"),
            ({**TINY, "prompt": "x" * 100_000}, None),
            ({**TINY, "duration": 1e9}, "duration"),
            ({**TINY, "width": 1}, "width"),
            ({**TINY, "more": 1}, "more"),
        ):
            answer = await caller.post("/v1/media/video", json=body)
            assert answer.status_code in (400, 413), answer.text
            assert param is None or answer.json()["error"]["param"] == param
        assert (await caller.get("/v1/jobs/job_1")).status_code == 404
        assert (await caller.get("/v1/jobs", params={"limit": "0"})).status_code == 400
        answer = await caller.get(f"/v1/jobs/job_{'0' * 32}/events", headers={"Last-Event-ID": "x"})
        assert answer.status_code == 400
    async with client(sonant.url, new_key(sonant).headers) as chatting:
        assert (await chatting.post("/v1/media/video", json=TINY)).status_code == 403


def sonant_command(sonant: Sonant, key: Key, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`sonant …` as somebody types it who has this key."""
    command = [str(Path(sys.executable).parent / "sonant"), *arguments, "--url", sonant.url, "--key", key.text]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


async def test_jobs_are_followed_on_the_command_line(sonant: Sonant) -> None:
    key = owner(sonant)
    async with client(sonant.url, key.headers) as caller:
        made = (await caller.post("/v1/media/video", json=TINY)).json()["id"]
        long = (await caller.post("/v1/media/video", json=LONG)).json()["id"]
    watched = await asyncio.to_thread(sonant_command, sonant, key, "jobs", "watch", made)
    assert watched.returncode == 0, watched.stderr
    assert orjson.loads(watched.stdout)["codec"] == "h264"
    assert (await asyncio.to_thread(sonant_command, sonant, key, "jobs", "cancel", long)).returncode == 0
    ended = await asyncio.to_thread(sonant_command, sonant, key, "jobs", "watch", long)
    assert ended.returncode == 1
    assert "cancelled" in ended.stderr
    listed = await asyncio.to_thread(sonant_command, sonant, key, "jobs", "list")
    assert re.findall("job_[0-9a-f]{32}", listed.stdout) == [long, made]
    shown = await asyncio.to_thread(sonant_command, sonant, key, "jobs", "show", made)
    assert "attempt   local render, completed" in shown.stdout
    assert (await asyncio.to_thread(sonant_command, sonant, key, "jobs", "show", "job_1")).returncode == 1


async def test_a_provider_makes_it_and_calls_back(sonant: Sonant) -> None:
    async with client(sonant.url, owner(sonant).headers) as caller:
        body = {"prompt": "sandbox:seconds-1 a kite", "model": "pixverse:1@1", "resolution": "360p"}
        job = (await caller.post("/v1/media/video", json=body)).json()
        done = await ended(caller, job["id"])
        assert (done["state"], done["result"]["provider"]) == ("completed", "sandbox"), done
        answer = await caller.get(done["result"]["url"])
        assert answer.headers["content-type"] == "video/mp4"
        assert len(answer.content) == done["result"]["size"]
        for token in ("x", f"{job['id']}.{'0' * 48}"):
            assert (await caller.post(f"/webhooks/runware/{token}", json={})).status_code == 401
        models = (await caller.get("/v1/media/video/models")).json()["data"]
        assert [model["id"] for model in models if model["default"]] == ["klingai:6@1"]

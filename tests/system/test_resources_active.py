"""Active sets over HTTP: layers, preconditions, history, rollback, rollout, and requests that are repeated."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.clients import client, new_key
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

USER = "user-123"
HERE = {"projectId": "project-456"}


class Team:
    """A product team with a config and a prompt in three versions."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self.api = api
        self.config = self.prompt = ""

    async def prepare(self) -> None:
        prompt = await self.api.post("/api/hume/prompts", json={"name": "p", "text": "text 0"})
        self.prompt = prompt.json()["prompt"]["id"]
        for number in (1, 2):
            await self.api.put("/api/hume/prompts", json={"id": self.prompt, "text": f"text {number}"})
        config = await self.api.post("/api/hume/configs", json={"name": "c", "evi_version": "3"})
        self.config = config.json()["config"]["id"]

    def pins(self, version: int | None, **fields: Any) -> dict[str, Any]:
        pins = {"configId": self.config, "configVersion": 0, "promptId": self.prompt, "promptVersion": version}
        return {**pins, **fields}

    async def switch(
        self, version: int | None, query: dict[str, str] = HERE, *, seen: int | None = None
    ) -> httpx.Response:
        headers = {} if seen is None else {"If-Match": f'"{seen}"'}
        return await self.api.put("/v1/active", params=query, json=self.pins(version), headers=headers)

    async def text(self, query: dict[str, str] = HERE, *, user: str = USER) -> str:
        answer = await self.api.get("/v1/active", params=query, headers={"x-user-id": user})
        assert answer.status_code == 200, answer.text
        shown: str = answer.json()["prompt"]["text"]
        return shown


@pytest.fixture
async def team(sonant: Sonant) -> AsyncIterator[Team]:
    key = new_key(sonant, scopes=["resources"])
    async with client(sonant.url, {**key.headers, "x-user-id": USER}) as api:
        made = Team(api)
        await made.prepare()
        yield made


async def test_the_first_layer_with_a_set_wins_as_a_whole(team: Team) -> None:
    await team.switch(0, {"layer": "organization"})
    assert await team.text() == "text 0"
    await team.switch(1, {"layer": "project", **HERE})
    assert await team.text() == "text 1"
    shown = await team.api.get("/v1/active", params=HERE)
    # The user's own place has no revision yet, which is what the next write builds on.
    assert (shown.headers["etag"], shown.json()["layer"]) == ('"0"', "project")
    assert (await team.switch(2, seen=0)).status_code == 200
    assert await team.text() == "text 2"
    assert await team.text(user="another") == "text 1"
    assert await team.text({"projectId": "other"}) == "text 0"
    for query in ({"layer": "project", **HERE}, {"layer": "organization"}):
        assert (await team.api.get("/v1/active", params=query)).headers["etag"] == '"1"'


async def test_of_writes_at_once_on_one_revision_one_wins(team: Team) -> None:
    first = await team.switch(0, seen=0)
    assert first.headers["etag"] == '"1"'
    answers = await asyncio.gather(*(team.switch(1, seen=1) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    lost = next(answer for answer in answers if answer.status_code == 412).json()["error"]
    assert (lost["code"], lost["param"]) == ("revision_mismatch", "If-Match")
    assert (await team.api.get("/v1/active", params=HERE)).headers["etag"] == '"2"'


async def test_every_switch_stays_and_can_come_back(team: Team) -> None:
    for version in (0, 1, 2):
        await team.switch(version)
    history = (await team.api.get("/v1/active/history", params=HERE)).json()
    assert [revision["revision"] for revision in history["data"]] == [3, 2, 1]
    page = (await team.api.get("/v1/active/history", params={**HERE, "limit": 1, "before": 3})).json()
    assert ([revision["revision"] for revision in page["data"]], page["has_more"]) == ([2], True)
    difference = await team.api.get("/v1/active/diff", params={**HERE, "old": 1, "new": 3})
    assert difference.status_code == 200
    assert "text 2" in difference.text
    back = await team.api.post("/v1/active/rollback", json={**HERE, "revision": 1})
    assert (back.headers["etag"], back.json()["prompt"]["text"]) == ('"4"', "text 0")
    assert await team.text() == "text 0"
    former = await team.api.post("/v1/active/rollback", params=HERE, json={}, headers={"If-Match": '"3"'})
    assert former.status_code == 412


async def test_what_was_live_at_a_moment_can_be_told(team: Team) -> None:
    before = time.time()
    first = (await team.switch(0)).json()
    between = time.time()
    await team.switch(1)
    for moment, version in ((between, 0), (time.time(), 1)):
        told = (await team.api.get("/v1/active/at", params={**HERE, "time": moment})).json()
        assert told["pins"]["prompt"]["version"] == version
    assert first["revision"] == 1
    gone = await team.api.get("/v1/active/at", params={**HERE, "time": before})
    assert gone.status_code == 404


async def test_a_rollout_reaches_a_share_of_the_users_and_can_be_called_off(team: Team) -> None:
    where = {"layer": "project", **HERE}
    await team.switch(0, where)
    rollout = {"percent": 30, "candidate": team.pins(1)}
    started = await team.api.post("/v1/active/rollout", params=where, json=rollout)
    assert started.status_code == 200, started.text
    users = [f"user-{number}" for number in range(60)]
    texts = [await team.text(user=user) for user in users]
    assert 5 <= texts.count("text 1") <= 35
    assert texts == [await team.text(user=user) for user in users]
    seen = (await team.api.get("/v1/active", params=where)).headers["etag"]
    assert seen == started.headers["etag"]
    more, late = [
        await team.api.post("/v1/active/rollout", params=where, json={"percent": 60}, headers={"If-Match": seen})
        for _ in range(2)
    ]
    assert (more.status_code, late.status_code) == (200, 412)
    later = [await team.text(user=user) for user in users]
    assert all(now == "text 1" for was, now in zip(texts, later, strict=True) if was == "text 1")
    assert (await team.api.post("/v1/active/rollout", params=where, json={"percent": 0})).status_code == 200
    assert {await team.text(user=user) for user in users} == {"text 0"}


async def test_new_content_becomes_active_in_the_step_that_creates_it(team: Team) -> None:
    await team.switch(0)
    made = await team.api.post(
        "/api/hume/prompts", params={"setActive": "true"}, json={"name": "next", "text": "from now on", **HERE}
    )
    assert made.status_code == 201, made.text
    assert await team.text() == "from now on"
    # Where nothing is active there is nothing to put it into: neither half is done.
    lone = await team.api.post(
        "/api/hume/prompts", params={"setActive": "true", "projectId": "empty"}, json={"name": "lone", "text": "a"}
    )
    assert (lone.status_code, lone.json()["error"]["code"]) == (409, "no_active_set")
    assert (await team.api.get("/api/hume/prompts", params={"name": "lone"})).json()["prompts"] == []


async def test_the_latest_version_is_followed_where_none_is_pinned(team: Team) -> None:
    await team.switch(None)
    assert await team.text() == "text 2"
    await team.api.put("/api/hume/prompts", json={"id": team.prompt, "text": "text 3"})
    assert await team.text() == "text 3"


async def test_a_repeated_post_is_done_once(team: Team) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"name": "once", "text": "a"}
    first = await team.api.post("/api/hume/prompts", json=body, headers=key)
    # The order of names in an object means nothing.
    again = await team.api.post("/api/hume/prompts", json=dict(reversed(body.items())), headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await team.api.post("/api/hume/prompts", json={**body, "text": "b"}, headers=key)
    assert other.status_code == 422
    added = {"toolId": "nowhere", **HERE}
    refused = [await team.api.post("/v1/active/tools", json=added, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert "idempotency-replayed" not in refused[1].headers


@pytest.fixture(scope="module")
def fragile() -> Iterator[Sonant]:
    """A system of its own, to be broken."""
    with sonant_system() as system:
        yield system


@pytest.fixture
async def survivor(fragile: Sonant) -> AsyncIterator[Team]:
    """A team with an active set on the system that breaks."""
    key = new_key(fragile, scopes=["resources"])
    async with client(fragile.url, {**key.headers, "x-user-id": USER}) as api:
        made = Team(api)
        await made.prepare()
        await made.switch(0)
        assert await made.text() == "text 0"
        yield made


async def test_writes_are_not_doubled_while_resources_dies(fragile: Sonant, survivor: Team) -> None:
    """Killed again and again under writes with idempotency keys: each is done once, whatever its caller was told."""
    api = survivor.api

    async def create(number: int) -> None:
        key = {"Idempotency-Key": f"create-{number}"}

        async def done() -> bool:
            answer = await api.post("/api/hume/prompts", json={"name": f"n{number}", "text": "a"}, headers=key)
            assert answer.status_code in (201, 409, 503, 504), answer.text
            return answer.status_code == 201

        await eventually(done, timeout=90.0, interval=0.2)

    writes = asyncio.gather(*(create(number) for number in range(40)))
    for _ in range(3):
        fragile.kill("resources")
        assert await survivor.text() == "text 0"
        await eventually(lambda: fragile.ready("resources"), timeout=60.0)
    await writes
    listed = (await api.get("/api/hume/prompts", params={"page_size": 100})).json()["prompts"]
    assert sorted(prompt["name"] for prompt in listed) == sorted(["p", *(f"n{number}" for number in range(40))])
    audit = (await api.get("/v1/audit", params={"limit": 500})).json()["data"]
    assert len({entry["event_id"] for entry in audit}) == len(audit)


async def test_while_resources_hangs_what_is_cached_is_read_and_nothing_is_done_later(
    fragile: Sonant, survivor: Team
) -> None:
    hanging = fragile.pid("resources")
    os.kill(hanging, signal.SIGSTOP)
    try:
        assert await survivor.text() == "text 0"
        unread, written = await asyncio.gather(
            survivor.api.get("/api/hume/prompts", params={"id": "never-read"}),
            survivor.api.post("/api/hume/prompts", json={"name": "too late", "text": "a"}),
        )
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert (unread.status_code, unread.headers["retry-after"]) == (503, "1")
    assert (written.status_code, written.json()["error"]["code"]) == (504, "timeout")

    async def served() -> bool:
        return (await survivor.api.get("/api/hume/prompts")).status_code == 200

    # The gateway refused at once while the service was silent, and hears from it again within a second or two.
    await eventually(served)
    made = await survivor.api.post("/api/hume/prompts", json={"name": "in time", "text": "a"})
    assert made.status_code == 201, made.text
    # Commands of an organisation are handled in order: what nobody waited for any more has been passed over.
    listed = (await survivor.api.get("/api/hume/prompts")).json()["prompts"]
    assert [prompt["name"] for prompt in listed] == ["in time", "p"]


async def test_while_the_cache_is_away_reads_say_when_to_come_back(fragile: Sonant, survivor: Team) -> None:
    fragile.kill("valkey")
    statuses = set()

    async def back() -> bool:
        answer = await survivor.api.get("/v1/active", params=HERE)
        statuses.add(answer.status_code)
        assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1
        return answer.status_code == 200 and answer.json()["prompt"]["text"] == "text 0"

    await eventually(back, timeout=60.0)
    assert statuses <= {200, 503}
    await eventually(lambda: fragile.ready("gateway", "resources"), timeout=60.0)
    assert (await survivor.switch(1)).status_code == 200
    assert await survivor.text() == "text 1"

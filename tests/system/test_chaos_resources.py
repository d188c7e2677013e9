"""A thousand readers while sets are switched and the service behind them, then the cache, is killed."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.clients import Key, new_key
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

READERS = 1_000
SWITCHES = 100
SETS = 5
# Readers pause up to this long between two reads (seconds): a voice platform asks when a conversation begins.
PAUSE = 2.0
BACK_SECONDS = 60.0
AGAIN_SECONDS = 0.1
PROJECT = "project-1"
SCHEMA = '{"type": "object", "properties": {}}'


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    """A system of its own, to be broken."""
    with sonant_system() as started:
        yield started


@dataclass
class Crowd:
    """Sessions that read the active set of one user over HTTP, and what they met."""

    session: aiohttp.ClientSession
    path: str
    over: asyncio.Event = field(default_factory=asyncio.Event)
    statuses: Counter[int] = field(default_factory=Counter)
    # Whether the cache may be away: only then may a read fail, and only by saying when to come back.
    cache_away: bool = False

    async def read(self) -> None:
        """One session: nothing mixed, nothing older after newer, and in the end the last set."""
        newest, last = 0, b""
        while True:
            closing = self.over.is_set()
            body = await self._get()
            if body is not None and body != last:
                revision = whole(orjson.loads(body))
                assert revision >= newest, f"revision {revision} after {newest}"
                newest, last = revision, body
            if closing and body is not None:
                assert newest == SWITCHES
                return
            await asyncio.sleep(random.random() * PAUSE)

    async def _get(self) -> bytes | None:
        async with self.session.get(self.path) as answer:
            body = await answer.read()
        self.statuses[answer.status] += 1
        if answer.status == 200:
            return body
        assert self.cache_away, f"{answer.status}: {body!r}"
        assert (answer.status, "retry-after" in answer.headers) == (503, True), f"{answer.status}: {body!r}"
        return None


def whole(told: dict[str, Any]) -> int:
    """The revision of a set, of which every part must bear the same mark."""
    tools = {tool["description"] for tool in told["tools"]}
    assert {told["config"]["version_description"], told["prompt"]["text"]} | tools == {told["prompt"]["text"]}
    assert len(told["tools"]) == 1
    return int(told["revision"])


@asynccontextmanager
async def opened(system: Sonant, key: Key) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {**key.headers, "x-user-id": "user-1"}
    connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(system.url, headers=headers, connector=connector, timeout=patience) as session:
        yield session


async def a_set(api: aiohttp.ClientSession, mark: str) -> dict[str, Any]:
    """A set of which every part bears the mark."""

    async def made(kind: str, **body: Any) -> str:
        body |= {"name": f"{kind}_{mark}", "version_description": mark}
        async with api.post(f"/api/hume/{kind}s", json=body) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())[kind]["id"])

    tool = await made("tool", parameters=SCHEMA, description=mark)
    return {
        "projectId": PROJECT,
        "configId": await made("config", evi_version="3"),
        "configVersion": 0,
        "promptId": await made("prompt", text=mark),
        "promptVersion": 0,
        "tools": [{"toolId": tool}],
    }


async def switch(api: aiohttp.ClientSession, body: dict[str, Any], revision: int) -> None:
    """Make this revision `revision`, however often that has to be said while something is away."""

    async def done() -> bool:
        headers = {"If-Match": f'"{revision - 1}"'}
        async with api.put("/v1/active", json=body, headers=headers) as answer:
            told = await answer.json()
        if answer.status in (503, 504):
            return False
        if answer.status == 412:
            # Done the last time, which only could not be answered.
            assert told["error"]["current"] == revision, told
            return True
        assert (answer.status, told.get("revision")) == (200, revision), told
        return True

    await eventually(done, timeout=BACK_SECONDS, interval=AGAIN_SECONDS)


async def kill(system: Sonant, name: str) -> None:
    """`kill -9`, and wait until everything is ready again."""
    former = system.kill(name)
    await eventually(lambda: system.run()["processes"][name]["pid"] not in (None, former), timeout=BACK_SECONDS)
    await eventually(lambda: system.ready("gateway", "resources", "llm-stream"), timeout=BACK_SECONDS)


async def test_readers_see_whole_sets_in_order_while_service_and_cache_are_killed(system: Sonant) -> None:
    key = new_key(system, f"org-{uuid.uuid4().hex[:8]}", scopes=["resources"])
    async with opened(system, key) as api:
        sets = [await a_set(api, f"mark_{number}") for number in range(SETS)]
        await switch(api, sets[0], 1)
        crowd = Crowd(api, f"/v1/active?projectId={PROJECT}")
        sessions = [asyncio.create_task(crowd.read()) for _ in range(READERS)]
        deaths: list[asyncio.Task[None]] = []
        for revision in range(2, SWITCHES + 1):
            if revision == SWITCHES // 3:
                deaths.append(asyncio.create_task(kill(system, "resources")))
            if revision == 2 * SWITCHES // 3:
                await asyncio.gather(*deaths)
                crowd.cache_away = True
                deaths.append(asyncio.create_task(kill(system, "valkey")))
            await switch(api, sets[revision % SETS], revision)
        await asyncio.gather(*deaths)
        crowd.over.set()
        await asyncio.gather(*sessions)
    print(f"reads by status: {dict(crowd.statuses)}")
    assert crowd.statuses[200] > READERS


async def test_conversations_go_on_without_resources(system: Sonant) -> None:
    """Answers use the set while the service is gone, and do without one that nobody has read yet."""
    key = new_key(system, f"org-{uuid.uuid4().hex[:8]}", scopes=["resources", "chat"])
    async with opened(system, key) as api:
        mark = f"mark_{uuid.uuid4().hex[:8]}"
        await switch(api, await a_set(api, mark), 1)

        async def asked(user: str) -> list[dict[str, Any]]:
            # A word of the tool's would have the sandbox call it.
            marker = uuid.uuid4().hex
            body = {"model": "default", "messages": [{"role": "user", "content": f"Say: {marker}"}]}
            headers = {"x-project-id": PROJECT, "x-user-id": user}
            async with api.post("/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                assert (await answer.json())["choices"][0]["message"]["content"] == marker
            seen = system.sandbox("requests", limit=50)
            [call] = [one for one in seen if marker in str(one["body"]["messages"][-1]["content"])]
            return list(call["body"]["messages"])

        told = await asked("user-1")
        assert told[0] == {"role": "system", "content": mark}
        former = system.kill("resources")
        told = await asked("user-1")
        assert told[0] == {"role": "system", "content": mark}
        told = await asked("nobody-knows")
        assert [message["role"] for message in told] == ["user"]
        await eventually(lambda: system.run()["processes"]["resources"]["pid"] not in (None, former), timeout=60)
        await eventually(lambda: system.ready("resources"), timeout=60)

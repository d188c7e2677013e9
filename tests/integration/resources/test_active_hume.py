"""Active sets of an organisation whose resources are at Hume: what is served, and what is when the provider is gone."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.clients.resources.client import BrokenSetError, ResourceClient
from common.clients.resources.entries import scope_keys
from common.events.resource_terms import Pin, SetScope
from common.storage.resp import Resp, open_resp
from resources.adapters.hume.call_policy import LIMITS
from sandbox.app import serve
from tests.support.active import PROJECT, Team, reading
from tests.support.engines import new_database
from tests.support.resources import caller_of
from tests.support.service import started, world_on
from tests.support.waiting import eventually

STAMPEDE = 150
MAX_TRIES = 1 + LIMITS.retries.attempts
KEY = f"key-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Provider:
    """The account at the provider, with its console."""

    session: aiohttp.ClientSession

    async def does(self, *faults: dict[str, Any]) -> None:
        async with self.session.put(f"/sandbox/hume/accounts/{KEY}", json={"faults": list(faults)}) as answer:
            assert answer.status == 200, await answer.text()

    async def requests(self) -> int:
        """How many requests the account has met."""
        async with self.session.get(f"/sandbox/hume/accounts/{KEY}") as answer:
            return int((await answer.json())["requests"])

    async def console(self, method: str, path: str, **body: Any) -> Any:
        """What somebody does there, past us."""
        headers = {"X-Hume-Api-Key": KEY}
        async with self.session.request(method, path, json=body or None, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if method == "POST" else None


@dataclass(frozen=True)
class Here:
    """Everything a test of this file works with."""

    provider: Provider
    team: Team
    reader: ResourceClient
    cache: Resp
    ops_url: str

    async def served(self, user_id: str | None = None) -> Any:
        found = await self.reader.sets.resolve(self.team.org_id, PROJECT, user_id or self.team.caller.user_id)
        return found and found.json()

    async def forget(self) -> None:
        """Have the cache lose the sets."""
        await self.cache.execute("DEL", *scope_keys(self.team.org_id, PROJECT, self.team.caller.user_id))

    async def broken(self) -> bool:
        try:
            await self.served()
        except BrokenSetError:
            return True
        return False

    async def metric(self, name: str) -> float:
        async with self.provider.session.get(f"{self.ops_url}/metrics") as answer:
            return sum(float(line.split()[-1]) for line in (await answer.text()).splitlines() if line.startswith(name))


@pytest.fixture
async def here(
    request: pytest.FixtureRequest, valkey_url: str, postgres_url: str, tmp_path: Path
) -> AsyncIterator[Here]:
    """What is known is believed for a second, or for as long as the test says."""
    org_id = f"org-{uuid.uuid4().hex[:8]}"
    async with (
        serve() as url,
        aiohttp.ClientSession(url) as session,
        new_database(postgres_url, "activehume") as database,
        world_on(valkey_url, database, tmp_path) as world,
    ):
        own = {"HUME_ORGANIZATIONS": org_id, "HUME_API_KEY": KEY, "HUME_SECRET_KEY": "secret", "HUME_BASE_URL": url}
        settings = {f"SONANT_{name}": value for name, value in own.items()}
        settings["SONANT_RESOURCE_CACHE_SECONDS"] = getattr(request, "param", "1")
        async with (
            started(world, "resources", settings=settings) as service,
            caller_of(world) as caller,
            reading(caller) as reader,
            open_resp(world.redis_url) as cache,
        ):
            await service.ready()
            yield Here(Provider(session), Team(caller.of(org_id)), reader, cache, service.ops_url)


async def test_a_set_holds_what_the_provider_has_and_follows_its_console(here: Here) -> None:
    pins = await here.team.pins(await here.team.create("tool"))
    following = pins.model_copy(update={"prompt": Pin(id=pins.prompt.id)})
    answer = await here.team.switch(following)
    assert answer.status == 200, answer.body
    assert await here.served() == answer.body
    await here.provider.console("POST", f"/v0/evi/prompts/{pins.prompt.id}", text="From the console.")

    async def followed() -> bool:
        told = (await here.served())["prompt"]
        return (told["text"], told["version"]) == ("From the console.", 1)

    await eventually(followed)


async def test_what_the_provider_has_and_we_never_saw_can_be_switched_to(here: Here) -> None:
    made = await here.provider.console("POST", "/v0/evi/prompts", name="Theirs", text="Made there.")
    config = await here.provider.console("POST", "/v0/evi/configs", name="Theirs too", evi_version="3")
    pins = (await here.team.pins()).model_copy(update={"prompt": Pin(id=made["id"]), "config": Pin(id=config["id"])})
    answer = await here.team.switch(pins)
    assert answer.status == 200, answer.body
    assert answer.body["prompt"]["text"] == "Made there."
    lost = pins.model_copy(update={"prompt": Pin(id=str(uuid.uuid4()))})
    assert (await here.team.switch(lost)).status == 404


@pytest.mark.parametrize("gone", ["status-410", "reset", "silence"])
async def test_a_set_is_served_without_the_provider(here: Here, gone: str) -> None:
    answer = await here.team.switch(await here.team.pins())
    await here.provider.does({"do": gone, "times": None})
    await here.forget()
    told = await here.served()
    # The tables have all of it: a provider that does not say a word is not waited for.
    assert gone != "silence" or await here.metric("sonant_api_in_flight{") > 0
    assert {**told, "clock": 0} == {**answer.body, "clock": 0}
    await here.forget()
    assert (await here.served())["revision"] == 1


@pytest.mark.parametrize("here", ["300"], indirect=True)
async def test_a_set_of_many_users_is_looked_up_once(here: Here) -> None:
    pins = await here.team.pins(await here.team.create("tool"))
    project = SetScope(layer="project", project_id=PROJECT)
    assert (await here.team.switch(pins, project)).status == 200
    users = [f"user-{number}" for number in range(STAMPEDE)]
    await here.forget()
    before = await here.provider.requests()
    told = await asyncio.gather(*map(here.served, users))
    assert {each["pins"]["prompt"]["id"] for each in told} == {pins.prompt.id}
    await here.forget()
    await asyncio.gather(*map(here.served, users[:10]))
    # Three parts, each asked for once; a try that the stampede itself held up is repeated.
    assert 3 <= await here.provider.requests() - before <= 3 * MAX_TRIES
    # A change of a part is a reason to look again, at that part.
    await here.team.version("prompt", pins.prompt.id, text="Another.")
    before = await here.provider.requests()
    await here.forget()
    await asyncio.gather(*map(here.served, users[:10]))
    assert 1 <= await here.provider.requests() - before <= MAX_TRIES


async def test_what_was_deleted_at_the_console_is_not_served(here: Here) -> None:
    pins = await here.team.pins(await here.team.create("tool"))
    await here.team.switch(pins)
    await here.provider.console("DELETE", f"/v0/evi/tools/{pins.tools[0].id}")

    async def without_it() -> bool:
        return bool((await here.served())["tools"] == [])

    await eventually(without_it)
    await here.provider.console("DELETE", f"/v0/evi/prompts/{pins.prompt.id}")
    await eventually(here.broken)
    # It stays away, whatever else happens to the set, and whatever happens to the provider.
    added = await here.team.tool("add", await here.team.create("tool"))
    assert added.status == 200, added.body
    assert await here.broken()
    await here.provider.does({"do": "status-500", "times": None})
    await here.forget()
    assert await here.broken()


async def test_what_the_provider_refuses_is_told_as_it_is(here: Here) -> None:
    unseen = await here.provider.console("POST", "/v0/evi/prompts", name="Unseen", text="Made there.")
    seen = await here.team.create("prompt")
    versions, org_id = here.reader.versions, here.team.org_id
    assert (await versions.get(org_id, "prompt", seen)).status == 200
    await here.provider.does({"do": "status-401", "times": None})
    found = await versions.get(org_id, "prompt", unseen["id"])
    error = found.json()["error"]
    assert (found.status, error["code"], error["provider_status"]) == (502, "provider_refused_us", 401)
    assert (await versions.get(org_id, "prompt", seen)).status == 200

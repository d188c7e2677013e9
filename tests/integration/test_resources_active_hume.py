"""Active sets of an organisation whose resources are at Hume: what is served, and what is when the provider is gone."""

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.events.resources import Pin
from common.resources.entries import Entry, place_key
from common.resources.reader import BrokenSetError, Reader
from common.storage.resp import Resp, open_resp
from sandbox.app import serve
from tests.support.active import PROJECT, Team, reading
from tests.support.engines import new_database
from tests.support.resources import asking, started, world_on

KEY = f"key-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Provider:
    """The account at the provider, with its console."""

    session: aiohttp.ClientSession

    async def does(self, *faults: dict[str, Any]) -> None:
        async with self.session.put(f"/sandbox/hume/accounts/{KEY}", json={"faults": list(faults)}) as answer:
            assert answer.status == 200, await answer.text()

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
    reader: Reader
    cache: Resp

    @property
    def key(self) -> str:
        return place_key(self.team.org_id, PROJECT, self.team.caller.user_id)

    async def served(self) -> Any:
        found = await self.reader.sets.resolve(self.team.org_id, PROJECT, self.team.caller.user_id)
        return found and found.json()

    async def grow_old(self) -> None:
        """Have the cached set due for a refresh, as five minutes would."""
        entry = Entry.unpack(await self.cache.execute("GET", self.key))
        await self.cache.execute("SET", self.key, replace(entry, fresh_until=time.time()).pack())


@pytest.fixture
async def here(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[Here]:
    org_id = f"org-{uuid.uuid4().hex[:8]}"
    async with (
        serve() as url,
        aiohttp.ClientSession(url) as session,
        new_database(postgres_url, "activehume") as database,
        world_on(valkey_url, database, tmp_path) as world,
    ):
        own = {"HUME_ORGANIZATIONS": org_id, "HUME_API_KEY": KEY, "HUME_SECRET_KEY": "secret", "HUME_BASE_URL": url}
        settings = {f"SONANT_{name}": value for name, value in own.items()}
        async with (
            started(world, settings=settings) as service,
            asking(world) as caller,
            reading(caller) as reader,
            open_resp(world.redis_url) as cache,
        ):
            await service.ready()
            yield Here(Provider(session), Team(caller.of(org_id)), reader, cache)


async def test_a_set_holds_what_the_provider_has_and_follows_its_console(here: Here) -> None:
    pins = await here.team.pins(await here.team.create("tool"))
    following = pins.model_copy(update={"prompt": Pin(id=pins.prompt.id)})
    answer = await here.team.switch(following)
    assert answer.status == 200, answer.body
    assert await here.served() == answer.body
    await here.provider.console("POST", f"/v0/evi/prompts/{pins.prompt.id}", text="From the console.")
    await here.grow_old()
    told = await here.served()
    assert (told["prompt"]["text"], told["prompt"]["version"]) == ("From the console.", 1)


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
    await here.cache.execute("DEL", here.key)
    told = await here.served()
    assert {**told, "clock": 0} == {**answer.body, "clock": 0}
    await here.grow_old()
    assert (await here.served())["revision"] == 1


async def test_what_was_deleted_at_the_console_is_not_served(here: Here) -> None:
    pins = await here.team.pins(await here.team.create("tool"))
    await here.team.switch(pins)
    await here.provider.console("DELETE", f"/v0/evi/tools/{pins.tools[0].id}")
    await here.grow_old()
    assert (await here.served())["tools"] == []
    await here.provider.console("DELETE", f"/v0/evi/prompts/{pins.prompt.id}")
    await here.grow_old()
    with pytest.raises(BrokenSetError):
        await here.served()

"""Resources with an account at Hume: an organisation kept there, access tokens, and the account copied home."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.events.resources import (
    ACTIVE_HISTORY_REQUESTED,
    AUDIT_LIST_REQUESTED,
    HUME_TOKEN_REQUESTED,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_GET_REQUESTED,
    RESOURCE_IMPORT_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
)
from sandbox.app import serve
from tests.support.engines import new_database
from tests.support.resources import Caller, caller_of
from tests.support.service import started, world_on
from tests.support.waiting import eventually

KEY = "hume-key"
KEPT_THERE = "org-at-hume"
# The account of that organisation; the other is for those that are not named.
OWN_KEY = "own-hume-key"


class Account:
    """The account as its owner sees it, past the service."""

    def __init__(self, session: aiohttp.ClientSession, key: str = KEY) -> None:
        self._session = session
        self._key = key

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        async with self._session.post(path, json=body, headers={"X-Hume-Api-Key": self._key}) as answer:
            assert answer.status < 300, await answer.text()
            return dict(await answer.json())

    async def arrange(self, *faults: Mapping[str, Any]) -> dict[str, Any]:
        async with self._session.put(f"/sandbox/hume/accounts/{self._key}", json={"faults": list(faults)}) as answer:
            return dict(await answer.json())

    async def totals(self) -> dict[str, Any]:
        async with self._session.get(f"/sandbox/hume/accounts/{self._key}") as answer:
            return dict(await answer.json())


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[str]:
    async with serve() as url:
        yield url


@pytest.fixture(scope="module")
async def shared(
    sandbox: str, valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Caller]:
    settings = {
        "SONANT_HUME_BASE_URL": sandbox,
        "SONANT_HUME_API_KEY": KEY,
        "SONANT_HUME_SECRET_KEY": "secret",
        "SONANT_HUME_ORGANIZATIONS": f"{KEPT_THERE}=OWN_HUME_KEY",
        "OWN_HUME_KEY": OWN_KEY,
        "OWN_HUME_KEY_SECRET": "own-secret",
    }
    async with (
        new_database(postgres_url, "hume") as database_url,
        world_on(valkey_url, database_url, tmp_path_factory.mktemp("hume")) as world,
        started(world, "resources", settings=settings) as service,
        caller_of(world) as caller,
    ):
        await service.ready()
        yield caller


@pytest.fixture
async def account(sandbox: str, shared: Caller) -> AsyncIterator[Account]:
    """An account with nothing in it, and a service whose breaker has closed again."""
    async with aiohttp.ClientSession(sandbox) as session:
        async with session.delete(f"/sandbox/hume/accounts/{KEY}") as answer:
            assert answer.status == 204

        async def answers() -> bool:
            return (await shared.ask(RESOURCE_IMPORT_REQUESTED, kind="voice", page=0)).status == 200

        await eventually(answers, timeout=30, interval=0.5)
        yield Account(session)


@pytest.fixture
def caller(shared: Caller) -> Caller:
    """Somebody of an organisation whose resources are here."""
    return replace(shared, org_id=f"org-{uuid.uuid4().hex[:12]}", asked=[])


@pytest.fixture
async def own(sandbox: str, shared: Caller) -> AsyncIterator[Account]:
    """The account of the organisation that is kept there."""
    async with aiohttp.ClientSession(sandbox) as session:
        yield Account(session, OWN_KEY)


async def test_what_cannot_become_active_is_not_made_at_the_provider(shared: Caller, own: Account) -> None:
    there = replace(shared, org_id=KEPT_THERE, asked=[])
    before = await own.totals()
    place, name = {"project_id": f"p-{uuid.uuid4().hex}", "user_id": "ada"}, f"n{uuid.uuid4().hex}"
    body = {"name": name, "text": "one"}
    for _ in range(2):
        refused = await there.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body=body, activate=place)
        assert (refused.status, refused.body["error"]["code"]) == (409, "no_active_set"), refused.body
    assert (await own.totals())["prompts"] == before["prompts"]
    prompt = (await there.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body=body)).body["prompt"]
    config = {"name": name, "evi_version": "3", "prompt": {"id": prompt["id"]}}
    made = await there.ask(RESOURCE_CREATE_REQUESTED, kind="config", body=config, activate=place)
    assert made.status == 201, made.body
    tool = {"name": name, "parameters": '{"type":"object"}'}
    assert (await there.ask(RESOURCE_CREATE_REQUESTED, kind="tool", body=tool, activate=place)).status == 201
    history = (await there.ask(ACTIVE_HISTORY_REQUESTED, place=place)).body["data"]
    assert [revision["revision"] for revision in history] == [2, 1]
    audited = (await there.ask(AUDIT_LIST_REQUESTED, limit=200)).body["data"]
    assert sum(made.body["config"]["id"] in entry["target"] for entry in audited) == 1


async def test_an_organisation_may_be_kept_at_the_provider(shared: Caller, own: Account) -> None:
    there = replace(shared, org_id=KEPT_THERE, asked=[])
    made = await there.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body={"name": "n", "text": "one"})
    assert made.status == 201, made.body
    id, before = made.body["prompt"]["id"], (await own.totals())["prompt_versions"]
    await own.arrange({"do": "lost", "method": "POST"})
    second = await there.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=id, body={"text": "two"})
    assert second.body["prompt"]["version"] == 1
    assert (await own.arrange())["prompt_versions"] == before + 1
    await own.arrange({"do": "status-410", "times": None})
    known = await there.ask(RESOURCE_GET_REQUESTED, kind="prompt", id=id, version=0)
    assert known.body["prompt"]["text"] == "one"
    refused = await there.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body={"name": "m", "text": "three"})
    assert (refused.status, refused.body["error"]["code"]) in (
        (502, "provider_unavailable"),
        # By then the breaker may have had enough.
        (503, "provider_unavailable"),
    )


async def test_tokens_are_handed_out(caller: Caller, account: Account) -> None:
    first = await caller.ask(HUME_TOKEN_REQUESTED)
    assert (first.status, first.headers["x-sonant-provider"]) == (200, "hume"), first.body
    assert first.body["accessToken"]
    again = await caller.ask(HUME_TOKEN_REQUESTED)
    assert again.body == first.body


# -- the account, copied home ------------------------------------------------------------------------------------------


async def furnish(account: Account, prompts: int = 7) -> dict[str, Any]:
    """Some resources of every kind, one of the prompts with three versions."""
    made = [await account.post("/v0/evi/prompts", name=f"p{index}", text=f"p{index}") for index in range(prompts)]
    for text in ("second", "third"):
        await account.post(f"/v0/evi/prompts/{made[0]['id']}", text=text, version_description=text)
    tool = await account.post("/v0/evi/tools", name="look_up", parameters='{"type":"object"}')
    await account.post("/v0/tts/voices", name="Warm", generation_id="g")
    config = await account.post(
        "/v0/evi/configs",
        name="desk",
        evi_version="3",
        prompt={"id": made[0]["id"], "version": 1},
        tools=[{"id": tool["id"], "version": 0}],
    )
    return {"prompt": made[0], "tool": tool, "config": config}


async def import_hume(caller: Caller, *options: str) -> tuple[int, str, str]:
    """`sonant import hume`: exit code, output and errors."""
    url = caller.world.redis_url
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("sonant")), "import", "hume", "--org", caller.org_id, *options),
        env={**os.environ, "SONANT_LOG_URL": url, "SONANT_REDIS_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_an_account_is_copied_with_ids_versions_and_order(caller: Caller, account: Account) -> None:
    made = await furnish(account)
    code, output, errors = await import_hume(caller)
    assert (code, errors) == (0, ""), errors
    assert "prompts: 7 new with 9 new versions" in output.splitlines()
    listed = await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", page_size=100)
    assert [each["name"] for each in listed.body["prompts"]] == [f"p{index}" for index in range(6, -1, -1)]
    versions = await caller.ask(RESOURCE_VERSIONS_REQUESTED, kind="prompt", id=made["prompt"]["id"])
    assert [(each["version"], each["text"]) for each in versions.body["prompts"]] == [
        (2, "third"),
        (1, "second"),
        (0, "p0"),
    ]
    assert versions.body["prompts"][0]["created_on"] == made["prompt"]["created_on"]
    config = await caller.ask(RESOURCE_GET_REQUESTED, kind="config", id=made["config"]["id"])
    assert config.body["config"]["prompt"] == {"id": made["prompt"]["id"], "version": 1}
    assert config.body["config"]["tools"] == [{"id": made["tool"]["id"], "version": 0}]
    voices = await caller.ask(RESOURCE_LIST_REQUESTED, kind="voice")
    assert [each["name"] for each in voices.body["voices"]] == ["Warm"]
    more = await caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=made["prompt"]["id"], body={"text": "ours"})
    assert more.body["prompt"]["version"] == 3


async def test_everybody_copies_from_their_own_account(
    shared: Caller, caller: Caller, account: Account, own: Account
) -> None:
    """The one that is kept there from its own, the others from the account that no organisation claims."""
    there = replace(shared, org_id=KEPT_THERE, asked=[])
    await own.arrange()
    marks = {who.org_id: f"of {who.org_id}" for who in (there, caller)}
    await own.post("/v0/evi/prompts", name=marks[KEPT_THERE], text="t")
    await account.post("/v0/evi/prompts", name=marks[caller.org_id], text="t")

    async def copied() -> bool:
        # The breaker of an earlier test may have to close first.
        return (await import_hume(there))[0] == 0

    await eventually(copied, timeout=30, interval=0.5)
    assert (await import_hume(caller))[0] == 0
    for who in (there, caller):
        listed = await who.ask(RESOURCE_LIST_REQUESTED, kind="prompt", page_size=100)
        names = {each["name"] for each in listed.body["prompts"]}
        assert names & set(marks.values()) == {marks[who.org_id]}
    tokens = [(await who.ask(HUME_TOKEN_REQUESTED)).body["accessToken"] for who in (there, caller)]
    assert tokens[0] != tokens[1]


async def test_an_account_in_trouble_leaves_the_others_alone(
    shared: Caller, caller: Caller, account: Account, own: Account
) -> None:
    there = replace(shared, org_id=KEPT_THERE, asked=[])
    await own.arrange({"do": "status-503", "times": None})

    async def given_up() -> bool:
        reply = await there.ask(RESOURCE_GET_REQUESTED, kind="prompt", id=str(uuid.uuid4()))
        return "left alone" in reply.body["error"]["message"]

    await eventually(given_up, timeout=30)
    assert (await caller.ask(RESOURCE_IMPORT_REQUESTED, kind="voice", page=0)).status == 200
    await own.arrange()


async def test_one_key_for_two_organisations_keeps_the_service_from_starting(shared: Caller) -> None:
    own = {"HUME_ORGANIZATIONS": "acme=ACME,beta=BETA", "DATABASE_URL": shared.world.database_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "resources"),
        env={
            **os.environ,
            **{f"SONANT_{name}": value for name, value in own.items()},
            "SONANT_LOG_URL": shared.world.redis_url,
            "SONANT_REDIS_URL": shared.world.redis_url,
            "ACME": "one-secret-key",
            "BETA": "one-secret-key",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == os.EX_CONFIG
    assert b"acme and beta have the same API key" in said
    assert b"one-secret-key" not in said


async def test_copying_again_adds_what_is_new_and_changes_nothing(caller: Caller, account: Account) -> None:
    made = await furnish(account, prompts=2)
    id = made["prompt"]["id"]
    assert (await import_hume(caller))[0] == 0
    await caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=id, body={"text": "ours"})
    for text in ("theirs", "theirs too"):
        await account.post(f"/v0/evi/prompts/{id}", text=text)
    code, output, errors = await import_hume(caller, "--json")
    told = json.loads(output)
    other = {"id": id, "name": "p0", "version": 3, "reason": "version_conflict"}
    assert (code, told["prompt"]) == (1, {"resources": 0, "versions": 1, "known": 2, "skipped": [other]})
    assert f"skipped prompt p0 ({id}) version 3: version_conflict" in errors
    assert {told[kind]["versions"] for kind in ("tool", "voice", "config")} == {0}
    assert [told[kind]["skipped"] for kind in ("tool", "voice", "config")] == [[], [], []]
    versions = await caller.ask(RESOURCE_VERSIONS_REQUESTED, kind="prompt", id=id)
    assert [each["text"] for each in versions.body["prompts"]] == ["theirs too", "ours", "third", "second", "p0"]


async def test_what_is_asked_of_the_provider_for_a_copy_keeps_no_other_write_waiting(
    caller: Caller, account: Account
) -> None:
    id = (await account.post("/v0/evi/prompts", name="theirs", text="t"))["id"]
    assert (await caller.ask(RESOURCE_IMPORT_REQUESTED, kind="prompt", page=0)).status == 200
    before = (await account.arrange({"do": "delay-1500", "times": None}))["requests"]
    copying = asyncio.create_task(caller.ask(RESOURCE_IMPORT_REQUESTED, kind="prompt", page=0))

    async def asked() -> bool:
        return bool((await account.totals())["requests"] > before)

    await eventually(asked, timeout=10)
    assert (await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body={"name": "n", "text": "t"})).status == 201
    assert (await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id)).status == 200
    assert not copying.done()
    assert (await copying).body["resources"] == 0
    assert (await caller.ask(RESOURCE_GET_REQUESTED, kind="prompt", id=id)).status == 404, (
        "deleted after it was seen there"
    )
    await account.arrange()
    assert (await caller.ask(RESOURCE_IMPORT_REQUESTED, kind="prompt", page=0)).body["resources"] == 1


async def test_a_copy_that_was_broken_off_goes_on(caller: Caller, account: Account) -> None:
    await furnish(account)
    await account.arrange(*[{"do": "status-503", "path": "/v0/evi/configs"}] * 3)
    code, _, errors = await import_hume(caller)
    assert code == 1
    assert "configs, page 0" in errors
    code, output, _ = await import_hume(caller)
    assert code == 0
    assert "configs: 1 new with 1 new versions" in output.splitlines()


async def test_a_name_that_is_taken_here_is_told(caller: Caller, account: Account) -> None:
    await furnish(account, prompts=2)
    await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body={"name": "p1", "text": "ours"})
    code, _, errors = await import_hume(caller)
    assert code == 1
    assert "skipped prompt p1" in errors
    assert "name_taken" in errors

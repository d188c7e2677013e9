"""What becomes of drafts that are no good: sent back with the reasons, refused for good, or not there at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from common.events.resources import RESOURCE_LIST, TOOL_DRAFT
from tests.support.drafts import WEATHER, actions, codes, drafted, drafting
from tests.support.resources import World, asking, new_database, started, world_on


@pytest.fixture(scope="module")
async def world(valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    output: Path = tmp_path_factory.mktemp("bad_drafts")
    async with new_database(postgres_url, "bad_drafts") as url, world_on(valkey_url, url, output) as world:
        yield world


@pytest.mark.parametrize("mood", ["injected", "prose", "remote", "shadowing"])
async def test_a_bad_draft_is_sent_back_with_the_reasons(world: World, mood: str) -> None:
    async with drafting(world, f"sandbox-drafts-{mood}-2") as bad:
        tool = await drafted(bad, bad.team())
        calls = await bad.calls()
    assert tool["provenance"]["attempts"] == len(calls) == 3
    last = calls[-1]["body"]["messages"]
    assert [message["role"] for message in last] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert orjson.loads(last[-1]["content"])["reasons"]


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("injected", "hidden_override"),
        ("prose", "not_json"),
        ("remote", "ref_remote"),
        ("shadowing", "name_builtin"),
    ],
)
async def test_a_draft_that_stays_bad_is_refused_and_leaves_nothing(world: World, mood: str, reason: str) -> None:
    async with drafting(world, f"sandbox-drafts-{mood}") as bad:
        team = bad.team()
        reply = await bad.draft(team.caller)
        assert reason in codes(reply)
        assert len(await bad.calls()) == 3
        listed = await team.caller.ask(RESOURCE_LIST, kind="tool")
        assert listed.body["tools"] == []
        assert await actions(world, team.org_id) == ([], ["tool.draft_refused"])


@pytest.mark.parametrize("fault", ["status-500", "status-401", "silence"])
async def test_a_model_that_is_away_is_told_apart(world: World, fault: str) -> None:
    async with drafting(world, f"sandbox+{fault}", SONANT_DRAFT_SECONDS="3") as away:
        reply = await away.draft(away.team().caller)
    assert reply.status in (502, 503)
    assert reply.body["error"]["code"] == "provider_unavailable"


async def test_without_a_model_drafting_says_so(world: World) -> None:
    nothing = {"SONANT_SANDBOX_URL": "", "OPENAI_API_KEY": ""}
    async with started(world, settings=nothing) as running, asking(world) as caller:
        await running.ready()
        reply = await caller.ask(TOOL_DRAFT, seconds=20, **WEATHER)
    assert (reply.status, reply.body["error"]["code"]) == (503, "drafting_unconfigured")

"""Drafted tools by what stands behind the service: models that are away or missing, Hume's catalogue."""

from typing import Any

import pytest

from common.events.resources import RESOURCE_LIST_REQUESTED, RESOURCE_VERSIONS_REQUESTED, TOOL_DRAFT_REQUESTED
from sandbox import app as sandbox
from tests.support.active import Team, reading, resolve
from tests.support.drafts import WEATHER, actions, drafted, drafting, status
from tests.support.resources import caller_of
from tests.support.service import World, started
from tests.support.waiting import eventually

AT_HUME = "org-at-hume"


@pytest.mark.parametrize("fault", ["status-500", "status-401", "silence"])
async def test_a_model_that_is_away_is_told_apart(world: World, fault: str) -> None:
    async with drafting(world, f"sandbox+{fault}", SONANT_DRAFT_SECONDS="3") as away:
        reply = await away.draft(away.team().caller)
    assert reply.status in (502, 503)
    assert reply.body["error"]["code"] == "provider_unavailable"


async def test_without_a_model_drafting_says_so(world: World) -> None:
    nothing = {"SONANT_SANDBOX_URL": "", "OPENAI_API_KEY": ""}
    async with started(world, "resources", settings=nothing) as running, caller_of(world) as caller:
        await running.ready()
        reply = await caller.ask(TOOL_DRAFT_REQUESTED, seconds=20, **WEATHER)
    assert (reply.status, reply.body["error"]["code"]) == (503, "drafting_unconfigured")


# -- where the catalogue is a provider's -----------------------------------------------------------------------------


async def test_a_draft_reaches_the_provider_only_when_it_is_promoted(world: World) -> None:
    """A provider knows no quarantine. What is promoted has the provider's id, and tells which draft it was."""
    async with sandbox.serve() as url, drafting(world, "sandbox", **at_hume(url)) as drafter:
        team = Team(drafter.caller.of(AT_HUME))
        tool = await drafted(drafter, team)
        assert await names_at_hume(team) == []
        async with reading(drafter.caller) as reader:
            assert (await reader.versions.get(AT_HUME, "tool", tool["id"])).json()["tool"]["status"] == "quarantined"
            promoted = (await status(team, tool["id"], "usable")).body["tool"]
            assert (await reader.versions.get(AT_HUME, "tool", tool["id"])).status == 404
        assert await names_at_hume(team) == ["get_weather_data"]
        assert promoted["id"] != tool["id"]
        assert promoted["provenance"] == {**tool["provenance"], "draft_id": tool["id"]}
        assert promoted["parameters"] == tool["parameters"]
        assert (await status(team, tool["id"], "usable")).status == 404
        disabled = (await status(team, promoted["id"], "disabled")).body["tool"]
        assert (disabled["id"], disabled["status"]) == (promoted["id"], "disabled")
        assert await actions(world, AT_HUME) == (
            ["quarantined", "deleted", "promoted", "disabled"],
            ["tool.quarantined", "tool.deleted", "tool.promoted", "tool.disabled"],
        )
        unwanted = await drafted(drafter, team)
        await status(team, unwanted["id"], "disabled")
        restored = (await status(team, unwanted["id"], "usable")).body["tool"]
        assert restored["provenance"]["draft_id"] == unwanted["id"]
        assert (await status(team, promoted["id"], "usable")).body["tool"]["id"] == promoted["id"]
        assert {promoted["id"], restored["id"]} == {tool["id"] for tool in await tools_of(team)}


async def test_a_tool_is_promoted_again_where_it_is_when_its_organisation_has_left_the_provider(world: World) -> None:
    async with sandbox.serve() as url, drafting(world, "sandbox", **at_hume(url, "org-leaving")) as drafter:
        team = Team(drafter.caller.of("org-leaving"))
        id = (await status(team, (await drafted(drafter, team))["id"], "usable")).body["tool"]["id"]
        await team.version("tool", id, fallback_content="Away.")
        assert (await team.switch(await team.pins(id))).status == 200
        disabled = await status(team, id, "disabled")
        assert disabled.status == 200
    async with drafting(world, "sandbox") as drafter:
        team = Team(drafter.caller.of("org-leaving"))
        promoted = await status(team, id, "usable")
        assert (promoted.status, promoted.body["tool"]["id"], promoted.body["tool"]["version"]) == (200, id, 1)
        assert promoted.body["tool"]["provenance"] == disabled.body["tool"]["provenance"]
        versions = await team.caller.ask(RESOURCE_VERSIONS_REQUESTED, kind="tool", id=id)
        assert [each["version"] for each in versions.body["tools"]] == [1, 0]
        async with reading(team.caller) as reader:
            served = await resolve(reader, team)
        assert [each["id"] for each in served["tools"]] == [id]


def at_hume(url: str, org_id: str = AT_HUME) -> dict[str, str]:
    return {"SONANT_HUME_ORGANIZATIONS": org_id, "SONANT_SANDBOX_URL": url, "SONANT_INSTANCE": "resources-hume"}


async def names_at_hume(team: Team) -> list[str]:
    return [tool["name"] for tool in await tools_of(team)]


async def tools_of(team: Team) -> list[dict[str, Any]]:
    return list((await team.caller.ask(RESOURCE_LIST_REQUESTED, kind="tool")).body["tools"])


async def test_a_service_that_is_stopped_in_the_middle_of_a_draft_ends_in_good_order(world: World) -> None:
    """The draft is given up, and made when the command comes again."""
    async with drafting(world, "sandbox+headers-60000") as slow:
        team = slow.team()
        event = team.caller.event(TOOL_DRAFT_REQUESTED, 60, **WEATHER)
        await world.log.publish(event.record())

        async def asked() -> bool:
            return bool(await slow.calls())

        await eventually(asked, timeout=60)
    async with drafting(world, "sandbox") as ready:

        async def made() -> bool:
            listed = await ready.caller.of(team.org_id).ask(RESOURCE_LIST_REQUESTED, kind="tool")
            return [tool["name"] for tool in listed.body["tools"]] == ["get_weather_data"]

        await eventually(made, timeout=60)

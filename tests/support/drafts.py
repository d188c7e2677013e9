"""Drafted tools in tests: a service with a model of the sandbox behind it, and what is asked of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from common.events.audit import AUDIT
from common.events.reply import Reply
from common.events.resources import RESOURCE_EVENTS, TOOL_DRAFT_REQUESTED, TOOL_STATUS_REQUESTED
from sandbox import app as sandbox
from tests.support.active import Team, new_team
from tests.support.resources import Caller, caller_of, published
from tests.support.service import World, started
from tests.support.sonant import RECORD_KEY, SHOW_RECORD

WEATHER = {
    "description": "Tool to fetch weather data",
    "inputs": ("location", "date"),
    "outputs": ("temperature", "conditions"),
}


@dataclass(frozen=True)
class Drafter:
    """A service whose drafts come from one model of the sandbox, and somebody who asks it."""

    caller: Caller
    url: str
    model: str

    def team(self) -> Team:
        """An organisation of its own, so that names are free."""
        return new_team(self.caller)

    async def draft(self, caller: Caller, **changes: Any) -> Reply[Any]:
        return await caller.ask(TOOL_DRAFT_REQUESTED, seconds=60, **{**WEATHER, **changes})

    async def calls(self) -> list[dict[str, Any]]:
        """What the model was asked so far."""
        async with aiohttp.ClientSession() as http:
            async with http.get(
                f"{self.url}/sandbox/requests", params={"model": self.model}, headers=SHOW_RECORD
            ) as response:
                return list(await response.json())


@asynccontextmanager
async def drafting(world: World, model: str, **settings: str) -> AsyncIterator[Drafter]:
    async with sandbox.serve(record_key=RECORD_KEY) as url:
        own = {"SONANT_DRAFT_URL": f"{url}/v1", "SONANT_DRAFT_MODEL": model, **settings}
        async with started(world, "resources", settings=own) as running, caller_of(world) as caller:
            await running.ready()
            yield Drafter(caller, url, model)


async def drafted(drafter: Drafter, team: Team) -> dict[str, Any]:
    reply = await drafter.draft(team.caller)
    assert reply.status == 201, reply.body
    tool: dict[str, Any] = reply.body["tool"]
    return tool


async def status(team: Team, id: str, wanted: str) -> Reply[Any]:
    return await team.caller.ask(TOOL_STATUS_REQUESTED, id=id, status=wanted)


def codes(reply: Reply[Any]) -> set[str]:
    assert (reply.status, reply.body["error"]["code"]) == (422, "draft_refused"), reply.body
    assert all(reason["message"] for reason in reply.body["error"]["reasons"])
    return {reason["code"] for reason in reply.body["error"]["reasons"]}


async def actions(world: World, org_id: str) -> tuple[list[str], list[str]]:
    """What was told about an organisation's tools, and what its audit trail says was done."""
    await published(world)
    changed = [event.payload for event in await world.events(RESOURCE_EVENTS) if event.spec.type == "resource.changed"]
    done = [event.payload for event in await world.events(AUDIT)]
    return (
        [fact.action for fact in changed if fact.org_id == org_id and fact.kind == "tool"],
        [entry.action for entry in done if entry.org_id == org_id and entry.action.startswith("tool.")],
    )

"""Active sets in tests: an organisation with resources to pin, and a reader of the cache as every process has one."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from common.bus.request_reply import Requester
from common.clients.resources.client import ResourceClient, open_resource_client
from common.events.reply import Reply
from common.events.resource_terms import Kind, Pin, Pins, SetScope
from common.events.resources import (
    ACTIVE_CLEAR_REQUESTED,
    ACTIVE_ROLLBACK_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    ACTIVE_TOOL_REQUESTED,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_EVENTS,
    RESOURCE_QUERIES,
    RESOURCE_VERSION_REQUESTED,
)
from tests.support.resources import Caller, published
from tests.support.service import World

PROJECT = "project-1"
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
BODIES: dict[Kind, dict[str, Any]] = {
    "prompt": {"text": "Greet the caller.\nBe brief."},
    "config": {"evi_version": "3"},
    "tool": {"parameters": SCHEMA, "description": "Tells the weather."},
    "voice": {"description": "calm"},
}


@dataclass(frozen=True)
class Team:
    """One organisation's user in a project, and what it asks the service for."""

    caller: Caller

    @property
    def org_id(self) -> str:
        return self.caller.org_id

    @property
    def place(self) -> SetScope:
        return SetScope(layer="user", project_id=PROJECT, user_id=self.caller.user_id)

    async def create(self, kind: Kind, **changes: Any) -> str:
        """The id of a new resource."""
        body = {"name": f"{kind}_{uuid.uuid4().hex[:8]}", **BODIES[kind], **changes}
        answer = await self.caller.ask(RESOURCE_CREATE_REQUESTED, kind=kind, body=body)
        assert answer.status == 201, answer.body
        return str(answer.body[kind]["id"])

    async def version(self, kind: Kind, id: str, **changes: Any) -> int:
        """The number of a new version."""
        answer = await self.caller.ask(RESOURCE_VERSION_REQUESTED, kind=kind, id=id, body={**BODIES[kind], **changes})
        assert answer.status == 200, answer.body
        return int(answer.body[kind]["version"])

    async def pins(self, *tools: str) -> Pins:
        """A new config and prompt, both pinned to their first version, with these tools following the latest."""
        config, prompt = Pin(id=await self.create("config"), version=0), Pin(id=await self.create("prompt"), version=0)
        return Pins(config=config, prompt=prompt, tools=tuple(Pin(id=tool) for tool in tools))

    async def switch(self, pins: Pins, place: SetScope | None = None, **fields: Any) -> Reply[Any]:
        return await self.caller.ask(ACTIVE_SWITCH_REQUESTED, place=place or self.place, pins=pins, **fields)

    async def tool(self, action: str, id: str, version: int | None = None, **fields: Any) -> Reply[Any]:
        pin = Pin(id=id, version=version)
        return await self.caller.ask(ACTIVE_TOOL_REQUESTED, place=self.place, action=action, tool=pin, **fields)

    async def roll_back(self, revision: int | None = None, **fields: Any) -> Reply[Any]:
        return await self.caller.ask(ACTIVE_ROLLBACK_REQUESTED, place=self.place, revision=revision, **fields)

    async def roll_out(
        self, percent: float, pins: Pins | None = None, place: SetScope | None = None, **fields: Any
    ) -> Reply[Any]:
        return await self.caller.ask(
            ACTIVE_ROLLOUT_REQUESTED, place=place or self.place, percent=percent, pins=pins, **fields
        )

    async def clear(self, place: SetScope | None = None, **fields: Any) -> Reply[Any]:
        return await self.caller.ask(ACTIVE_CLEAR_REQUESTED, place=place or self.place, **fields)


def new_team(caller: Caller, user_id: str = "user-1") -> Team:
    """An organisation that nobody else has."""
    return Team(caller.of(f"org-{uuid.uuid4().hex[:10]}", user_id))


@asynccontextmanager
async def reading(caller: Caller) -> AsyncIterator[ResourceClient]:
    """What a gateway or llm-stream reads with."""
    async with open_resource_client(caller.world.redis_url, Requester(caller.world.log, caller.reader)) as reader:
        yield reader


async def resolve(reader: ResourceClient, team: Team, user_id: str | None = None) -> Any:
    """The set as every process reads it, None where there is none."""
    found = await reader.sets.resolve(team.org_id, PROJECT, team.caller.user_id if user_id is None else user_id)
    return found and found.json()


async def queries(world: World, team: Team, spec: Any) -> int:
    """How often the service was asked about an organisation."""
    return sum(e.spec == spec and e.payload.org_id == team.org_id for e in await world.events(RESOURCE_QUERIES))


async def settled(world: World) -> None:
    """Wait until every fact so far has reached the cache."""
    await published(world)
    await world.handled(RESOURCE_EVENTS, "resources")

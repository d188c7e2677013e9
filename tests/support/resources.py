"""Resources as a process of its own; the test plays the gateway and the other teams."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import RESOURCE_COMMANDS
from common.events.spec import EventSpec
from tests.support.engines import new_database
from tests.support.mailbox import open_mailbox
from tests.support.service import ANSWER_SECONDS, FakeGateway, World, started, world_on
from tests.support.waiting import eventually


@pytest.fixture
async def resources_world(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this test's own."""
    async with new_database(postgres_url, "resources") as database_url:
        async with world_on(valkey_url, database_url, tmp_path) as world:
            yield world


@dataclass(frozen=True)
class Caller(FakeGateway):
    """Asks as a gateway would, on behalf of one organisation and user. Everything is delivered twice."""

    org_id: str = "org-1"
    key_id: str = "key-1"
    user_id: str = "user-1"
    asked: list[Event[Any]] = field(default_factory=list)

    def of(self, org_id: str, user_id: str = "user-1") -> "Caller":
        """The same gateway on behalf of somebody else."""
        return Caller(self.world, self.reader, org_id, f"key-of-{org_id}", user_id, self.asked)

    async def ask(self, spec: EventSpec[Any], /, *, seconds: float = ANSWER_SECONDS, **fields: Any) -> Reply[Any]:
        """The answer, the same to both deliveries of a command."""
        event = self.event(spec, seconds, **fields)
        self.asked.append(event)
        first, second = await self.deliver(event, event)
        if spec.topic == RESOURCE_COMMANDS:
            assert (first.status, first.body) == (second.status, second.body)
        return first

    def event(self, spec: EventSpec[Any], seconds: float = ANSWER_SECONDS, /, **fields: Any) -> Event[Any]:
        payload = spec.payload(org_id=self.org_id, key_id=self.key_id, user_id=self.user_id, **fields)
        return Event(spec, payload, deadline=time.time() + seconds)


@asynccontextmanager
async def caller_of(world: World) -> AsyncIterator[Caller]:
    """Somebody who asks, whether or not anybody answers."""
    async with open_mailbox(world.redis_url) as reader:
        yield Caller(world, reader)


@asynccontextmanager
async def resources_on(world: World, settings: Mapping[str, str] | None = None) -> AsyncIterator[Caller]:
    """The service, ready, and somebody who asks it."""
    async with started(world, "resources", settings=settings) as running, caller_of(world) as caller:
        await running.ready()
        yield caller


async def published(world: World) -> None:
    """Wait until the outbox is empty."""

    async def check() -> bool:
        return await world.fetch("SELECT 1 FROM resources.outbox LIMIT 1") == []

    await eventually(check, timeout=30)

"""Media as a process of its own; the test plays the gateway."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from common.events.envelope import Event
from common.events.media import (
    MEDIA_JOB_CANCEL_REQUESTED,
    MEDIA_JOB_GET_REQUESTED,
    MEDIA_JOB_LIST_REQUESTED,
    MEDIA_JOB_REQUESTED,
    MEDIA_JOB_RETRY_REQUESTED,
    JobRequested,
)
from common.events.reply import Reply
from common.events.spec import RequestSpec
from tests.support.engines import new_database
from tests.support.mailbox import open_mailbox
from tests.support.service import FakeGateway, ServiceProcess, World, started, world_on
from tests.support.waiting import eventually

ENDED = ("completed", "failed", "cancelled")
JOB_SECONDS = 90.0
TINY: Mapping[str, Any] = {
    "prompt": "a red kite over the sea",
    "model": "local",
    "duration": 0.5,
    "width": 160,
    "height": 96,
}


@pytest.fixture
async def media_world(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this test's own."""
    async with new_database(postgres_url, "media") as database_url:
        async with world_on(valkey_url, database_url, tmp_path) as world:
            yield world


@dataclass(frozen=True)
class Owner(FakeGateway):
    """Asks for jobs as a gateway does, on behalf of one organisation."""

    org_id: str = "org-1"

    def of(self, org_id: str) -> "Owner":
        return Owner(self.world, self.reader, org_id)

    async def submit(self, kind: str = "video", *, times: int = 1, **given: Any) -> str:
        """A new job, delivered as often as `times` says; returns its id."""
        job_id = f"job_{uuid.uuid4().hex}"
        requested = JobRequested(
            org_id=self.org_id,
            key_id="key-1",
            job_id=job_id,
            kind=kind,
            requested_at=time.time(),
            input={**TINY, **given},
        )
        await self.world.publish(*([Event(MEDIA_JOB_REQUESTED, requested, id=job_id)] * times))
        return job_id

    async def ask(
        self, spec: RequestSpec[Any, Any], job_id: str = "", /, *, event_id: str = "", **given: Any
    ) -> Reply[Any]:
        about = {"org_id": self.org_id, **({"key_id": "key-1", "job_id": job_id} if job_id else {}), **given}
        event = Event(spec, spec.payload(**about), id=event_id or uuid.uuid4().hex, deadline=time.time() + 15)
        [reply] = await self.deliver(event)
        return reply

    async def job(self, job_id: str) -> dict[str, Any]:
        reply = await self.ask(MEDIA_JOB_GET_REQUESTED, job_id)
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.body
        return found

    async def page(self, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask(MEDIA_JOB_LIST_REQUESTED, **query)).body
        return found

    async def cancel(self, job_id: str) -> Reply[Any]:
        return await self.ask(MEDIA_JOB_CANCEL_REQUESTED, job_id)

    async def retry(self, job_id: str, event_id: str = "") -> Reply[Any]:
        return await self.ask(MEDIA_JOB_RETRY_REQUESTED, job_id, event_id=event_id)

    async def ended(self, job_id: str, timeout: float = JOB_SECONDS) -> dict[str, Any]:
        """The job, once it has ended."""

        async def check() -> dict[str, Any] | None:
            found = await self.job(job_id)
            return found if found["state"] in ENDED else None

        return cast("dict[str, Any]", await eventually(check, timeout=timeout))

    async def reaches(self, job_id: str, step: str) -> dict[str, Any]:
        """The job, once it is at this step."""

        async def check() -> dict[str, Any] | None:
            found = await self.job(job_id)
            assert found["state"] not in ENDED, found
            return found if found["step"] == step else None

        return cast("dict[str, Any]", await eventually(check, timeout=JOB_SECONDS))


@asynccontextmanager
async def owner_of(world: World) -> AsyncIterator[Owner]:
    async with open_mailbox(world.redis_url) as reader:
        yield Owner(world, reader)


@asynccontextmanager
async def media_on(
    world: World, settings: Mapping[str, str] | None = None, *, instance: str = "media-0"
) -> AsyncIterator[ServiceProcess]:
    """The service, ready."""
    own = {"SONANT_DATA_DIR": str(world.output / "data"), **(settings or {})}
    async with started(world, "media", instance=instance, settings=own) as running:
        await running.ready()
        yield running


def left_behind(world: World) -> list[str]:
    """Files that are nobody's: of scratch folders, and halves."""
    data = world.output / "data"
    return [
        str(path) for path in data.rglob("*") if ("scratch" in str(path) and path.is_file()) or ".part" in path.name
    ]

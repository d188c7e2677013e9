"""Engines for media, stand-ins of its providers, and a service that the tests of a file share."""

from collections.abc import AsyncIterator

import pytest

from common.events.documents import DOCUMENT_KIND
from common.jobs.job_store import Bounds
from common.jobs.open_jobs import JOBS_MIGRATIONS
from common.jobs.postgres_jobs import PostgresJobs
from common.storage.postgres import Pool, open_postgres
from media.app import MIGRATIONS
from tests.support.engines import new_database
from tests.support.expressions import sandbox_url
from tests.support.media import Owner, media_on, media_world, owner_of
from tests.support.peers import peer
from tests.support.runware import RunwareSandbox, runware_sandbox
from tests.support.service import World, world_on

__all__ = ["media_world", "peer", "sandbox_url"]


@pytest.fixture
async def media_rows(postgres_url: str) -> AsyncIterator[Pool]:
    """The tables of media, empty."""
    async with new_database(postgres_url, "rows") as url:
        async with open_postgres(
            url, size=6, migrations=MIGRATIONS, schema="media", unit_of_work=True, shared=[JOBS_MIGRATIONS]
        ) as opened:
            yield opened


@pytest.fixture
def document_jobs(media_rows: Pool) -> PostgresJobs:
    """Jobs that take documents in."""
    bounds = Bounds(DOCUMENT_KIND, (), queue=10_000, share=10_000, deadline_seconds=60.0, keep_seconds=3600.0)
    return PostgresJobs(media_rows, "media", {DOCUMENT_KIND: bounds})


@pytest.fixture(scope="module")
async def shared_world(
    valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this file's own."""
    async with new_database(postgres_url, "media") as url:
        async with world_on(valkey_url, url, tmp_path_factory.mktemp("media")) as world:
            yield world


@pytest.fixture(scope="module")
async def shared_runware() -> AsyncIterator[RunwareSandbox]:
    async with runware_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def runware(shared_runware: RunwareSandbox) -> RunwareSandbox:
    """A stand-in that was not asked anything yet, whose tasks take a moment."""
    await shared_runware.afresh()
    await shared_runware.arrange(task_seconds=0.2)
    return shared_runware


@pytest.fixture(scope="module")
async def owner(shared_world: World, shared_runware: RunwareSandbox) -> AsyncIterator[Owner]:
    """Somebody who has jobs done by a service on the stand-in."""
    settings = {"SONANT_SANDBOX_URL": shared_runware.url}
    async with media_on(shared_world, settings), owner_of(shared_world) as owner:
        yield owner

"""Engines for media, stand-ins of its providers, and a service that the tests of a file share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.engines import new_database
from tests.support.expressions import sandbox_url
from tests.support.media import Owner, media_on, media_world, owner_of
from tests.support.peers import peer
from tests.support.runware import RunwareSandbox, runware_sandbox
from tests.support.service import World, world_on

__all__ = ["media_world", "peer", "sandbox_url"]


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

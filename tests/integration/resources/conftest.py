"""The engines and the service that the tests of a file share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.engines import new_database
from tests.support.resources import Caller, resources_on
from tests.support.service import World, world_on


@pytest.fixture(scope="module")
async def world(valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this file's own."""
    async with new_database(postgres_url, "resources") as url:
        async with world_on(valkey_url, url, tmp_path_factory.mktemp("resources")) as world:
            yield world


@pytest.fixture(scope="module")
async def shared(world: World) -> AsyncIterator[Caller]:
    """Somebody who asks a service that is ready."""
    async with resources_on(world) as caller:
        yield caller

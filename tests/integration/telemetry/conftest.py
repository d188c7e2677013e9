"""The engines of one test of telemetry."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.engines import new_database
from tests.support.service import World, world_on


@pytest.fixture
async def world(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this test's own."""
    async with new_database(postgres_url, "telemetry") as database_url:
        async with world_on(valkey_url, database_url, tmp_path) as world:
            yield world

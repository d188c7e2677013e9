"""The catalogue in our own database keeps the contract of catalogues."""

from collections.abc import AsyncIterator

import pytest

from common.storage.postgres import open_postgres
from resources.adapters.postgres.local_catalogue import LocalCatalogue
from resources.adapters.postgres.store import PostgresStore
from resources.app import MIGRATIONS, SCHEMA
from tests.contract.catalogue_contract import (
    BODIES,
    CatalogueContract,
    VoiceCatalogueContract,
    World,
    refused,
    units_of,
)


@pytest.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    async with open_postgres(postgres_url, size=4, migrations=MIGRATIONS, schema=SCHEMA, unit_of_work=True) as pool:
        yield World(LocalCatalogue(PostgresStore(pool)), units_of(pool))


class TestLocalCatalogue(CatalogueContract):
    pass


class TestLocalVoices(VoiceCatalogueContract):
    pass


async def test_organisations_do_not_see_each_other(world: World) -> None:
    made = await world.create("prompt", "mine")
    stranger = World(world.catalogue, world.units)
    assert await stranger.names("prompt") == []
    await refused(404, stranger.get("prompt", made.id))
    await refused(404, stranger.create_version("prompt", made.id))
    await refused(404, stranger.write(lambda work: stranger.catalogue.delete(work, "prompt", made.id)))
    assert (await stranger.create("prompt", "mine")).id != made.id


async def test_voices_have_versions_here(world: World) -> None:
    body = {"name": "Warm", "provider": "CUSTOM_VOICE"}
    made = await world.write(lambda work: world.catalogue.create(work, "voice", body))
    again = await world.write(
        lambda work: world.catalogue.create_version(work, "voice", made.id, {"provider": "HUME_AI"})
    )
    assert (made.version, again.version) == (0, 1)
    assert BODIES.keys().isdisjoint({"voice"})

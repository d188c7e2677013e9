"""The catalogue at Hume keeps the contract of catalogues."""

from collections.abc import AsyncIterator

import pytest

from common.storage.postgres import Pool
from tests.contract.catalogue_contract import (
    CatalogueContract,
    VoiceCatalogueContract,
    World,
)
from tests.support.hume_catalogue import Arrange, hume


class TestHumeCatalogue(CatalogueContract):
    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str) -> AsyncIterator[World]:
        async with hume(pool, url, key) as world:
            yield world


class TestHumeVoices(VoiceCatalogueContract):
    pass


class TestHumeCatalogueWithDuplicateNames(CatalogueContract):
    """The provider does not say whether names are unique there; with us they are."""

    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str, arrange: Arrange) -> AsyncIterator[World]:
        await arrange(duplicates="allow")
        async with hume(pool, url, key) as world:
            yield world

"""The catalogue at Hume keeps the contract of catalogues in a flaky mood."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from common.providers.policy import RETRIES
from common.storage.postgres import Pool
from tests.contract.catalogue_contract import (
    CatalogueContract,
    VoiceCatalogueContract,
    World,
)
from tests.support.hume_catalogue import Arrange, hume

# Enough failures for every operation to meet some, and few enough for a patient caller.
FLAKY = {"seed": 7, "share": 0.3}
# As often as ever; how long it waits in between is not what these tests are about.
QUICK = replace(RETRIES, first=0.01)


class Flaky:
    """A provider of which every third request or so fails."""

    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str, arrange: Arrange) -> AsyncIterator[World]:
        await arrange(mood=FLAKY)
        async with hume(pool, url, key, retries=QUICK) as world:
            yield world


class TestFlakyHumeCatalogue(Flaky, CatalogueContract):
    pass


class TestFlakyHumeVoices(Flaky, VoiceCatalogueContract):
    pass

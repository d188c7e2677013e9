"""What the handlers of resources work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.kernel.worker_processes import WorkerProcesses
from common.providers.provider_registry import ProviderRegistry
from common.storage.unit_of_work import UnitsOfWork
from resources.active.cache_writer import CacheWriter
from resources.drafting.drafting import Drafting
from resources.ports import Catalogue, Provider, Store, WriteTables


@dataclass(frozen=True, slots=True)
class Catalogues:
    """Which catalogue an organisation has: the one it is named for in `chosen`, else our own."""

    local: Catalogue
    chosen: Mapping[str, Catalogue]

    def of(self, org_id: str) -> Catalogue:
        return self.chosen.get(org_id, self.local)


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a use case may ask for."""

    store: Store
    units: UnitsOfWork[WriteTables]
    catalogues: Catalogues
    cache: CacheWriter
    drafting: Drafting
    provider_of: Callable[[str], Provider]
    workers: WorkerProcesses
    providers: ProviderRegistry

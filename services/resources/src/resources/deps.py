"""What the handlers of resources work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.storage.postgres import Pool
from resources.models import Drafting
from resources.ports import Catalogue, Source
from resources.resolver import Resolver
from resources.settings import ResourcesSettings
from resources.tokens import Tokens
from resources.work import Works


@dataclass(frozen=True, slots=True)
class Catalogues:
    """Which catalogue an organisation has: the one it is named for in `chosen`, else our own."""

    local: Catalogue
    chosen: Mapping[str, Catalogue]

    def of(self, org_id: str) -> Catalogue:
        return self.chosen.get(org_id, self.local)


@dataclass(frozen=True, slots=True)
class Provider:
    """What an organisation's account at the voice provider gives, beside the catalogue: tokens, and all it holds."""

    tokens: Tokens
    source: Source


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a use case may ask for."""

    settings: ResourcesSettings
    pool: Pool
    works: Works
    catalogues: Catalogues
    resolver: Resolver
    drafting: Drafting
    provider_of: Callable[[str], Provider]

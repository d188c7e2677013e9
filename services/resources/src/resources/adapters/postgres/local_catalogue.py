"""The catalogue in our own database."""

import uuid
from collections.abc import Mapping
from typing import Any

from common.events.resource_terms import Kind
from resources.ports import Item, Page, Store, Work, not_found

# What every kind has; the rest of a body is its content.
COMMON = frozenset({"name", "version_description"})


class LocalCatalogue:
    """The port `Catalogue` on our own tables; reads raise StoreUnavailableError while the database is away.

    It serves whatever the tables hold, so an organisation that leaves its provider goes on with what was known.
    """

    name = "local"

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, org_id: str, kind: Kind, *, name: str | None, page: int, size: int) -> Page:
        return await self._store.of(org_id).catalogue.latest_page(kind, name, page, size)

    async def versions(self, org_id: str, kind: Kind, id: str, *, page: int, size: int) -> Page:
        found = await self._store.of(org_id).catalogue.versions_page(kind, id, page, size)
        if not found.total:
            raise not_found(kind, id)
        return found

    async def get(self, org_id: str, kind: Kind, id: str, version: int | None, *, or_copy: bool = True) -> Item:
        found = await self._store.of(org_id).catalogue.get(kind, id, version)
        if found is None:
            raise not_found(kind, id, version)
        return found

    async def create(self, work: Work, kind: Kind, body: Mapping[str, Any]) -> Item:
        id = str(uuid.uuid4())
        await work.tables.catalogue.add(kind, id, self.name, body["name"])
        return await self.create_version(work, kind, id, body)

    async def create_version(self, work: Work, kind: Kind, id: str, body: Mapping[str, Any]) -> Item:
        content = {name: value for name, value in body.items() if name not in COMMON}
        description = body.get("version_description") or ""
        version = await work.tables.catalogue.add_version(kind, id, content, description)
        return await _known(work, kind, id, version)

    async def rename(self, work: Work, kind: Kind, id: str, name: str) -> Item:
        await work.tables.catalogue.claim_name(kind, id, name)
        await work.tables.catalogue.rename(kind, id, name)
        return await _known(work, kind, id, None)

    async def describe(self, work: Work, kind: Kind, id: str, version: int, description: str) -> Item:
        await work.tables.catalogue.describe(kind, id, version, description)
        return await _known(work, kind, id, version)

    async def delete_version(self, work: Work, kind: Kind, id: str, version: int) -> None:
        await _known(work, kind, id, version)
        await work.tables.catalogue.remove_version(kind, id, version)

    async def delete(self, work: Work, kind: Kind, id: str) -> None:
        await _known(work, kind, id, None)
        await work.tables.catalogue.remove(kind, id)


async def _known(work: Work, kind: Kind, id: str, version: int | None) -> Item:
    found = await work.tables.catalogue.get(kind, id, version)
    if found is None:
        raise not_found(kind, id, version)
    return found

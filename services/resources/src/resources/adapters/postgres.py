"""The catalogue in our own database."""

import uuid
from collections.abc import Mapping
from typing import Any

from common.events.resources import Kind
from common.storage.postgres import Pool, transient
from resources import store
from resources.ports import Item, Page, not_found
from resources.work import Work

# What every kind has; the rest of a body is its content.
COMMON = frozenset({"name", "version_description"})


class LocalCatalogue:
    """The port `Catalogue` on PostgreSQL; reads raise `Retry` while it is away.

    It serves whatever the tables hold, so an organisation that leaves its provider goes on with what was known.
    """

    name = "local"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def list(self, org_id: str, kind: Kind, *, name: str | None, page: int, size: int) -> Page:
        async with transient():
            return await store.latest_page(self._pool, org_id, kind, name, page, size)

    async def versions(self, org_id: str, kind: Kind, id: str, *, page: int, size: int) -> Page:
        async with transient():
            found = await store.versions_page(self._pool, org_id, kind, id, page, size)
        if not found.total:
            raise not_found(kind, id)
        return found

    async def get(self, org_id: str, kind: Kind, id: str, version: int | None, *, or_copy: bool = True) -> Item:
        async with transient():
            found = await store.get(self._pool, org_id, kind, id, version)
        if found is None:
            raise not_found(kind, id, version)
        return found

    async def create(self, work: Work, kind: Kind, body: Mapping[str, Any]) -> Item:
        id = str(uuid.uuid4())
        await store.add(work, kind, id, self.name, body["name"])
        return await self.create_version(work, kind, id, body)

    async def create_version(self, work: Work, kind: Kind, id: str, body: Mapping[str, Any]) -> Item:
        content = {name: value for name, value in body.items() if name not in COMMON}
        version = await store.add_version(work, kind, id, content, body.get("version_description") or "")
        return await _known(work, kind, id, version)

    async def rename(self, work: Work, kind: Kind, id: str, name: str) -> Item:
        await store.claim_name(work, kind, id, name)
        await store.rename(work, kind, id, name)
        return await _known(work, kind, id, None)

    async def describe(self, work: Work, kind: Kind, id: str, version: int, description: str) -> Item:
        await store.describe(work, kind, id, version, description)
        return await _known(work, kind, id, version)

    async def delete_version(self, work: Work, kind: Kind, id: str, version: int) -> None:
        await _known(work, kind, id, version)
        await store.remove_version(work, kind, id, version)

    async def delete(self, work: Work, kind: Kind, id: str) -> None:
        await _known(work, kind, id, None)
        await store.remove(work, kind, id)


async def _known(work: Work, kind: Kind, id: str, version: int | None) -> Item:
    found = await store.get(work.connection, work.org_id, kind, id, version)
    if found is None:
        raise not_found(kind, id, version)
    return found

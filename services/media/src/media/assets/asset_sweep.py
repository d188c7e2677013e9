"""What nobody needs any more is taken away: assets whose time is over, objects without a row, unfinished files."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from common.events.assets import ASSET_KIND
from common.failures import StoreUnavailableError
from common.storage.objects import Objects
from media.assets.asset_store import key_of
from media.metrics import ASSETS_SWEPT
from media.ports import AssetRows

log = structlog.get_logger(__name__)

# Rows and objects looked at in one go.
BATCH = 500


class AssetSweep:
    """Looks every `every_seconds`. An object is an orphan where it has no row `orphan_seconds` after it was written:
    longer than an upload may take to be recorded. An unfinished file is one that nobody wrote to for as long."""

    def __init__(self, objects: Objects, rows: AssetRows, *, every_seconds: float, orphan_seconds: float) -> None:
        self._objects = objects
        self._rows = rows
        self._every = every_seconds
        self._orphan_age = timedelta(seconds=orphan_seconds)

    async def run(self) -> None:
        """Sweep until cancelled; while a store is away, later."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailableError as error:
                log.warning("assets not swept", error=str(error))
            await asyncio.sleep(self._every)

    async def sweep(self) -> None:
        """One round. Raises StoreUnavailableError."""
        ASSETS_SWEPT.labels("expired").inc(await self._expired())
        ASSETS_SWEPT.labels("orphan").inc(await self._orphans())
        unfinished = await self._objects.sweep(self._orphan_age.total_seconds())
        ASSETS_SWEPT.labels("unfinished").inc(unfinished)

    async def _expired(self) -> int:
        swept = 0
        while batch := await self._rows.expired(BATCH):
            for org_id, asset_id in batch:
                await self._rows.remove(org_id, asset_id)
                await self._objects.delete(key_of(org_id, asset_id))
            swept += len(batch)
        return swept

    async def _orphans(self) -> int:
        swept, batch = 0, list[str]()
        before = datetime.now(UTC) - self._orphan_age
        async for found in self._objects.listed(ASSET_KIND):
            if found.modified_at < before:
                batch.append(found.key)
            if len(batch) >= BATCH:
                swept += await self._sweep_orphans(batch)
                batch.clear()
        return swept + await self._sweep_orphans(batch)

    async def _sweep_orphans(self, keys: Sequence[str]) -> int:
        if not keys:
            return 0
        known = await self._rows.known([_asset_id(key) for key in keys])
        orphans = [key for key in keys if (org_id := known.get(_asset_id(key))) is None or not _is_of(key, org_id)]
        for key in orphans:
            await self._objects.delete(key)
        return len(orphans)


def _asset_id(key: str) -> str:
    return key.rpartition("/")[2]


def _is_of(key: str, org_id: str) -> bool:
    return key == key_of(org_id, _asset_id(key))

"""Assets as the parts of media use them: stored, read and taken away."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.events.assets import ASSET_KIND, AssetInfo, file_name, new_asset_id
from common.failures import Refused
from common.storage.content_type import content_type
from common.storage.objects import ObjectMissing, Objects, ObjectTooLarge, Written, object_key
from media.ports import Asset, AssetRows, Origin

UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class AssetBounds:
    """Most bytes of one asset and of all of an organisation; how long an upload is kept where nobody says."""

    max_bytes: int
    quota_bytes: int
    keep: timedelta | None


class Assets:
    """The files of all organisations.

    The object is written before its row: a row always has its bytes, and an object without a row is swept. Every method
    raises StoreUnavailableError while the object store or the database is away.
    """

    def __init__(self, objects: Objects, rows: AssetRows, bounds: AssetBounds) -> None:
        self._objects = objects
        self._rows = rows
        self._bounds = bounds

    async def store(
        self,
        org_id: str,
        chunks: AsyncIterator[bytes],
        *,
        origin: Origin,
        max_bytes: int | None = None,
        name: str | None = None,
        keep: timedelta | None = None,
        asset_id: str | None = None,
        content_type: str | None = None,
    ) -> Asset:
        """Keep what the iterator gives. With an `asset_id` of its own a repeated step makes the same asset again.

        `content_type` is for what we wrote ourselves, and what first bytes do not tell.

        Raises Refused: 413 `asset_too_large`, 429 `asset_quota` where the organisation has no room left.
        """
        asset_id = asset_id or new_asset_id()
        bound = min(max_bytes or self._bounds.max_bytes, self._bounds.max_bytes)
        try:
            written = await self._objects.write(key_of(org_id, asset_id), chunks, max_bytes=bound)
        except ObjectTooLarge as error:
            raise too_large(error.max_bytes) from None
        asset = asset_of(org_id, asset_id, written, origin, name)
        return await self.record(asset if content_type is None else replace(asset, content_type=content_type), keep)

    async def store_file(
        self,
        org_id: str,
        path: Path,
        *,
        origin: Origin,
        max_bytes: int | None = None,
        name: str | None = None,
        keep: timedelta | None = None,
        asset_id: str | None = None,
    ) -> Asset:
        """Keep the content of a file; as `store`."""
        asset_id = asset_id or new_asset_id()
        bound = min(max_bytes or self._bounds.max_bytes, self._bounds.max_bytes)
        try:
            written = await self._objects.write_file(key_of(org_id, asset_id), path, max_bytes=bound)
        except ObjectTooLarge as error:
            raise too_large(error.max_bytes) from None
        return await self.record(asset_of(org_id, asset_id, written, origin, name), keep)

    async def record(self, asset: Asset, keep: timedelta | None) -> Asset:
        """Give an object its row; raises Refused 429 where there is no room, and takes the object away."""
        if keep is None and not asset.job_id:
            # What a job made goes with the job.
            keep = self._bounds.keep
        asset = _with_expiry(asset, keep)
        kept = await self._rows.add(asset, self._bounds.quota_bytes)
        if kept is None:
            await self._objects.delete(key_of(asset.org_id, asset.id))
            raise _no_room(self._bounds.quota_bytes)
        return kept

    async def get(self, org_id: str, asset_id: str) -> Asset:
        """The asset; raises Refused 404 where the organisation has none of this id."""
        asset = await self._rows.get(org_id, asset_id)
        if asset is None:
            raise no_asset(asset_id)
        return asset

    async def read(self, asset: Asset, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Its bytes from `start` up to `end`, which is not among them; raises Refused 404 where they are gone."""
        try:
            async with aclosing(self._objects.read(key_of(asset.org_id, asset.id), start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ObjectMissing:
            raise no_asset(asset.id) from None

    async def copy_to_file(self, asset: Asset, path: Path) -> None:
        """Write its bytes to a new file; raises Refused 404 where they are gone."""
        try:
            await self._objects.copy_to_file(key_of(asset.org_id, asset.id), path)
        except ObjectMissing:
            raise no_asset(asset.id) from None

    async def delete(self, org_id: str, asset_id: str) -> None:
        """Take it away; raises Refused 404 where the organisation has none of this id."""
        if not await self._rows.remove(org_id, asset_id):
            raise no_asset(asset_id)
        await self._objects.delete(key_of(org_id, asset_id))

    async def delete_of_job(self, org_id: str, job_id: str) -> int:
        """Take away what a job made; returns how many assets."""
        ids = await self._rows.of_job(org_id, job_id)
        for asset_id in ids:
            await self._rows.remove(org_id, asset_id)
            await self._objects.delete(key_of(org_id, asset_id))
        return len(ids)


def key_of(org_id: str, asset_id: str) -> str:
    """The key of an asset's bytes in the object store."""
    return object_key(ASSET_KIND, org_id, asset_id)


def asset_of(org_id: str, asset_id: str, written: Written, origin: Origin, name: str | None) -> Asset:
    """The row of an object that was written."""
    return Asset(
        id=asset_id,
        org_id=org_id,
        kind=origin.kind,
        job_id=origin.job_id or None,
        name=file_name(name or ""),
        content_type=content_type(written.head),
        size=written.size,
        sha256=written.sha256,
        created_at=datetime.now(UTC),
        expires_at=None,
    )


def asset_info(asset: Asset) -> AssetInfo:
    """An asset as callers see it."""
    return AssetInfo(
        id=asset.id,
        object="asset",
        content_type=asset.content_type,
        size=asset.size,
        sha256=asset.sha256,
        created_at=asset.created_at.timestamp(),
        expires_at=None if asset.expires_at is None else asset.expires_at.timestamp(),
        name=asset.name,
        kind=asset.kind,
        job_id=asset.job_id,
        url=f"/v1/assets/{asset.id}",
    )


def no_asset(asset_id: str) -> Refused:
    """404: there is no such asset, or it is somebody else's."""
    return Refused(404, f"There is no asset {asset_id!r}.", "asset_not_found", "id")


def too_large(max_bytes: int) -> Refused:
    """413: it has more bytes than one asset may have."""
    return Refused(413, f"An asset has at most {max_bytes} bytes.", "asset_too_large")


def _no_room(quota_bytes: int) -> Refused:
    message = f"The assets of this organisation may take {quota_bytes} bytes together: delete some first."
    return Refused(429, message, "asset_quota", type="insufficient_quota")


def _with_expiry(asset: Asset, keep: timedelta | None) -> Asset:
    if keep is None:
        return asset
    return replace(asset, expires_at=asset.created_at + keep)

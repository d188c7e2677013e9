"""What is asked about assets over the log: recorded, found, listed, taken away."""

from datetime import UTC, datetime, timedelta

from common.events.assets import (
    AssetDeleted,
    AssetDeleteRequested,
    AssetGetRequested,
    AssetInfo,
    AssetList,
    AssetListRequested,
    AssetRecordRequested,
)
from common.events.envelope import Event
from common.events.reply import Reply
from media.assets.asset_store import UPLOAD, asset_info
from media.deps import Deps
from media.ports import Asset


async def record(event: Event[AssetRecordRequested], deps: Deps) -> Reply[AssetInfo]:
    """201. A repetition changes nothing: it is the same id."""
    asked = event.payload
    asset = Asset(
        id=asked.id,
        org_id=asked.org_id,
        kind=UPLOAD,
        job_id=None,
        name=asked.name,
        content_type=asked.content_type,
        size=asked.size,
        sha256=asked.sha256,
        created_at=datetime.now(UTC),
        expires_at=None,
    )
    keep = None if asked.keep_seconds is None else timedelta(seconds=asked.keep_seconds)
    return Reply(asset_info(await deps.assets.record(asset, keep)), 201)


async def get(event: Event[AssetGetRequested], deps: Deps) -> Reply[AssetInfo]:
    """200, or Refused 404."""
    return Reply(asset_info(await deps.assets.get(event.payload.org_id, event.payload.id)))


async def list_assets(event: Event[AssetListRequested], deps: Deps) -> Reply[AssetList]:
    """200 with a page."""
    asked = event.payload
    found = await deps.asset_rows.page(
        asked.org_id, asked.limit + 1, asked.after, asked.job_id, asked.kind, oldest_first=asked.oldest_first
    )
    page = tuple(asset_info(asset) for asset in found[: asked.limit])
    return Reply(AssetList(object="list", data=page, has_more=len(found) > asked.limit))


async def delete(event: Event[AssetDeleteRequested], deps: Deps) -> Reply[AssetDeleted]:
    """200, or Refused 404."""
    await deps.assets.delete(event.payload.org_id, event.payload.id)
    return Reply(AssetDeleted(id=event.payload.id, object="asset", deleted=True))

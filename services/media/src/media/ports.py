"""What media needs from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an asset comes from: the job that made it, empty for none, and the kind of thing it is."""

    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an organisation: its row. Times are aware, in UTC; `kind` is `upload` or that of its job."""

    id: str
    org_id: str
    kind: str
    job_id: str | None
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None


class AssetRows(Protocol):
    """The assets of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def add(self, asset: Asset, quota_bytes: int) -> Asset | None:
        """Keep it, in place of an asset of the same id and organisation; None where the quota has no room for it.

        Raises `Park` where another organisation has the id.
        """

    async def get(self, org_id: str, asset_id: str) -> Asset | None:
        """The asset, unless it has expired."""

    async def page(
        self, org_id: str, limit: int, after: str | None, job_id: str | None, kind: str | None
    ) -> Sequence[Asset]:
        """Up to `limit` assets that have not expired, newest first, behind the asset `after`."""

    async def remove(self, org_id: str, asset_id: str) -> bool:
        """Forget it; whether it was there."""

    async def of_job(self, org_id: str, job_id: str) -> Sequence[str]:
        """The ids of the assets that a job made."""

    async def expired(self, limit: int) -> Sequence[tuple[str, str]]:
        """Organisation and id of assets whose time is over."""

    async def known(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The organisation of each asset there is."""

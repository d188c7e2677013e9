"""What media needs from outside."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an asset comes from: the job that made it, empty for none, and the kind of thing it is."""

    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is kept; `sha256` is lower-case hex, `size` in bytes."""

    id: str
    org_id: str
    content_type: str
    size: int
    sha256: str


class Assets(Protocol):
    """Files of organisations, written whole or not at all."""

    async def store_file(
        self, org_id: str, path: Path, *, origin: Origin, name: str | None = None, asset_id: str | None = None
    ) -> Asset:
        """Keep a file; under an id that is taken it replaces what is there."""

    async def get(self, org_id: str, asset_id: str) -> Asset:
        """Raises Refused 404 where the organisation has none of this id."""

    def read(self, asset: Asset, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes."""

    async def copy_to_file(self, asset: Asset, path: Path) -> None:
        """Its bytes, for the worker processes."""

    async def delete_of_job(self, org_id: str, job_id: str) -> int:
        """Delete what a job made; returns how many there were."""

"""Assets in a directory: one file each, beside a note of what it is."""

import asyncio
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

from common.failures import Refused
from media.ports import Asset, Origin

CHUNK_BYTES = 256 * 1024


class DirectoryAssets:
    """The port `Assets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def store_file(
        self, org_id: str, path: Path, *, origin: Origin, name: str | None = None, asset_id: str | None = None
    ) -> Asset:
        return await asyncio.to_thread(self._store, org_id, path, origin, asset_id or f"ast_{uuid.uuid4().hex}")

    def _store(self, org_id: str, path: Path, origin: Origin, asset_id: str) -> Asset:
        folder = self._place(org_id)
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        asset = Asset(asset_id, org_id, "video/mp4", path.stat().st_size, digest)
        part = folder / f".{asset_id}.part"
        shutil.copyfile(path, part)
        os.replace(part, folder / asset_id)
        note = folder / f".{asset_id}.note.part"
        note.write_text(json.dumps({**asdict(asset), "job_id": origin.job_id}))
        os.replace(note, folder / f"{asset_id}.json")
        return asset

    def _place(self, org_id: str) -> Path:
        return self._folder / hashlib.sha256(org_id.encode()).hexdigest()[:32]

    async def get(self, org_id: str, asset_id: str) -> Asset:
        note = self._place(org_id) / f"{Path(asset_id).name}.json"
        try:
            found = json.loads(await asyncio.to_thread(note.read_text))
        except FileNotFoundError:
            raise Refused(404, f"There is no asset '{asset_id}'.", "asset_not_found", "id") from None
        found.pop("job_id")
        return Asset(**found)

    async def read(self, asset: Asset, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        path, at, until = self._place(asset.org_id) / asset.id, start, asset.size if end is None else end
        with await asyncio.to_thread(path.open, "rb") as file:
            file.seek(at)
            while at < until and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, until - at))):
                at += len(chunk)
                yield chunk

    async def copy_to_file(self, asset: Asset, path: Path) -> None:
        await asyncio.to_thread(shutil.copyfile, self._place(asset.org_id) / asset.id, path)

    async def delete_of_job(self, org_id: str, job_id: str) -> int:
        return await asyncio.to_thread(self._delete_of_job, org_id, job_id)

    def _delete_of_job(self, org_id: str, job_id: str) -> int:
        folder = self._place(org_id)
        notes = list(folder.glob("*.json")) if folder.is_dir() else []
        ours = [note for note in notes if json.loads(note.read_text())["job_id"] == job_id]
        for note in ours:
            (folder / note.stem).unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        return len(ours)

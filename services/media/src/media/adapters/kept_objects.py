"""The port `KeptSpeech`: sounds in the object store, by organisation; a table says which there are and when they go.

The row is written first: an object without one would never be found again, a row without its object is a miss.
"""

import asyncio
import hashlib
import struct
import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from common.failures import StoreUnavailableError
from common.storage.objects import ObjectMissing, Objects, ObjectTooLarge, object_key
from common.storage.postgres import Pool, transient
from media.metrics import SPEECH_KEPT, SPEECH_SWEPT
from media.speech_ports import Kept

log = structlog.get_logger(__name__)

KIND = "speech"
LENGTH = struct.Struct("!I")
MAX_BYTES = 64 * 1024 * 1024
# How often what was used is noted, and how often what is old is taken away, in seconds.
NOTE_SECONDS = 10.0
SWEEP_SECONDS = 600.0
# Taken away in one go.
SWEEP_ROWS = 500

NOTE = """
INSERT INTO media.speech_kept (org_id, key, size) VALUES ($1, $2, $3)
ON CONFLICT (org_id, key) DO UPDATE SET size = EXCLUDED.size, used_at = now()
"""
USED = (
    "UPDATE media.speech_kept SET used_at = now() WHERE (org_id, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
)
# What was not used for long, and the least used of organisations that keep too much.
OLD = """
WITH ranked AS (
    SELECT org_id, key, used_at, sum(size) OVER (PARTITION BY org_id ORDER BY used_at DESC, key) AS kept
    FROM media.speech_kept
)
SELECT org_id, key FROM ranked WHERE used_at < now() - $1::float8 * interval '1 second' OR kept > $2 LIMIT $3
"""
FORGET = "DELETE FROM media.speech_kept WHERE org_id = $1 AND key = $2"


class KeptObjects:
    """Sounds that were made before. They are a saving: where a store is away they are made anew."""

    def __init__(self, objects: Objects, pool: Pool, *, keep_seconds: float, org_bytes: int) -> None:
        self._objects = objects
        self._pool = pool
        self._keep_seconds = keep_seconds
        self._org_bytes = org_bytes
        self._used: set[tuple[str, str]] = set()

    async def find(self, org_id: str, key: str) -> Kept | None:
        """What is kept under this key."""
        try:
            data = await self._objects.read_bytes(_object(org_id, key), max_bytes=MAX_BYTES)
        except (ObjectMissing, ObjectTooLarge):
            return None
        except StoreUnavailableError as error:
            log.warning("kept speech cannot be read", error=str(error))
            return None
        (length,) = LENGTH.unpack_from(data)
        self._used.add((org_id, key))
        SPEECH_KEPT.labels("found").inc()
        return Kept(orjson.loads(data[LENGTH.size : LENGTH.size + length]), data[LENGTH.size + length :])

    async def keep(self, org_id: str, key: str, about: Mapping[str, Any], data: bytes) -> None:
        """Keep it."""
        head = orjson.dumps(about)
        try:
            async with transient():
                await self._pool.execute(NOTE, org_id, key, len(data))
            await self._objects.write_bytes(_object(org_id, key), LENGTH.pack(len(head)) + head + data)
        except StoreUnavailableError as error:
            SPEECH_KEPT.labels("lost").inc()
            log.warning("speech was not kept, and will be made again", error=str(error))
        else:
            SPEECH_KEPT.labels("kept").inc()

    async def run(self) -> None:
        """Note what is used, and take away what is old, until cancelled."""
        swept = time.monotonic() - SWEEP_SECONDS
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            try:
                await self.note()
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    swept = time.monotonic()
                    await self.sweep()
            except StoreUnavailableError as error:
                log.warning("kept speech is not swept", error=str(error))

    async def note(self) -> None:
        """Note what was used since the last time. Raises StoreUnavailableError."""
        used, self._used = self._used, set()
        if used:
            async with transient():
                await self._pool.execute(USED, [org for org, _ in used], [key for _, key in used])

    async def sweep(self) -> int:
        """Take away what was not used for long, and what an organisation keeps too much of; how many. Raises
        StoreUnavailableError."""
        swept = 0
        while True:
            async with transient():
                rows = await self._pool.fetch(OLD, self._keep_seconds, self._org_bytes, SWEEP_ROWS)
            for row in rows:
                await self._objects.delete(_object(row["org_id"], row["key"]))
                async with transient():
                    await self._pool.execute(FORGET, row["org_id"], row["key"])
            swept += len(rows)
            SPEECH_SWEPT.inc(len(rows))
            if len(rows) < SWEEP_ROWS:
                return swept


def _object(org_id: str, key: str) -> str:
    """Where it lies: names of organisations may hold what is no part of a path."""
    return object_key(KIND, hashlib.sha256(org_id.encode()).hexdigest()[:32], key)

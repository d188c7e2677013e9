"""Songs and their vectors in PostgreSQL; each change has its place in the clock of its organisation."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from common.events.songs import SongFilter
from common.failures import Refused
from common.storage.postgres import Connection, Pool, transient
from media.song_ports import Numbered, SongChanges, SongRow

NAMES = tuple(SongRow.__dataclass_fields__)
COLUMNS = ", ".join(NAMES)
PLACES = ", ".join(f"${at}" for at in range(1, len(NAMES) + 1))

# The lock on the clock makes the writers of an organisation take turns: changes are committed in its order.
LOCK = """
INSERT INTO media.song_clocks AS known (org_id, clock, songs) VALUES ($1, 1, 0)
ON CONFLICT (org_id) DO UPDATE SET clock = known.clock + 1 RETURNING clock, songs
"""
# What is put in place of another gets another number: the index may hold the old vector still.
FORGET = """
WITH gone AS (DELETE FROM media.songs WHERE org_id = $1 AND id = ANY($2::text[]) RETURNING number, id, created_at),
noted AS (INSERT INTO media.song_removals (org_id, clock, number) SELECT $1, $3, number FROM gone)
SELECT id, created_at FROM gone
"""
INSERT = f"INSERT INTO media.songs ({COLUMNS}, clock) VALUES ({PLACES}, ${len(NAMES) + 1})"  # noqa: S608
COUNT = "UPDATE media.song_clocks SET songs = songs + $2 WHERE org_id = $1"
FITS = """
($2::text IS NULL OR lower(artist) = lower($2)) AND ($3::text IS NULL OR lower($3) = ANY(genres))
AND ($4::text IS NULL OR lower($4) = ANY(tags)) AND ($5::int IS NULL OR year >= $5) AND ($6::int IS NULL OR year <= $6)
AND ($7::float8 IS NULL OR tempo >= $7) AND ($8::float8 IS NULL OR tempo <= $8)
AND ($9::text IS NULL OR key = $9) AND ($10::text IS NULL OR mode = $10)
"""
PAGE = f"""
SELECT {COLUMNS} FROM media.songs WHERE org_id = $1 AND {FITS}
    AND ($11::text IS NULL
        OR (created_at, id) < (SELECT created_at, id FROM media.songs WHERE org_id = $1 AND id = $11))
ORDER BY created_at DESC, id DESC LIMIT $12
"""  # noqa: S608
# Whole changes alone: the clock of an index stands between two of them.
CHANGED = """
SELECT number, clock, vector FROM media.songs WHERE org_id = $1 AND clock > $2 AND clock <= coalesce((
    SELECT clock FROM media.songs WHERE org_id = $1 AND clock > $2 ORDER BY clock OFFSET $3 LIMIT 1
), $4) ORDER BY clock, number
"""
REMOVED = "SELECT number FROM media.song_removals WHERE org_id = $1 AND clock > $2 AND clock <= $3"
BETWEEN = f"SELECT number, {COLUMNS} FROM media.songs WHERE org_id = $1 AND number > $2 ORDER BY number LIMIT $3"  # noqa: S608


class PostgresSongs:
    """The port `SongRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, org_id: str, rows: Sequence[SongRow], most: int) -> bool:
        try:
            async with transient(), self._pool.acquire() as connection, connection.transaction():
                return await _put(connection, org_id, rows, most)
        except asyncpg.UniqueViolationError:
            raise Refused(409, "Another song has this external id.", "external_id_taken", "external_id") from None
        except _TooMany:
            return False

    async def get(self, org_id: str, song_id: str) -> SongRow | None:
        query = f"SELECT {COLUMNS} FROM media.songs WHERE org_id = $1 AND id = $2"  # noqa: S608
        async with transient():
            row = await self._pool.fetchrow(query, org_id, song_id)
        return None if row is None else SongRow(**row)

    async def page(self, org_id: str, wanted: SongFilter, after: str | None, limit: int) -> Sequence[SongRow]:
        async with transient():
            rows = await self._pool.fetch(PAGE, org_id, *_values(wanted), after, limit)
        return [SongRow(**row) for row in rows]

    async def numbered(self, org_id: str, numbers: Sequence[int]) -> dict[int, SongRow]:
        query = f"SELECT number, {COLUMNS} FROM media.songs WHERE org_id = $1 AND number = ANY($2::bigint[])"  # noqa: S608
        async with transient():
            rows = await self._pool.fetch(query, org_id, list(numbers))
        return {row["number"]: _song(row) for row in rows}

    async def matching(self, org_id: str, wanted: SongFilter) -> Sequence[int]:
        query = f"SELECT number FROM media.songs WHERE org_id = $1 AND {FITS}"  # noqa: S608
        async with transient():
            return [row["number"] for row in await self._pool.fetch(query, org_id, *_values(wanted))]

    async def remove(self, org_id: str, song_id: str) -> bool:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            locked = await connection.fetchrow(LOCK, org_id)
            gone = await connection.fetch(FORGET, org_id, [song_id], locked["clock"] if locked else 0)
            await connection.execute(COUNT, org_id, -len(gone))
        return bool(gone)

    async def totals(self, org_id: str) -> tuple[int, int]:
        async with transient():
            row = await self._pool.fetchrow("SELECT clock, songs FROM media.song_clocks WHERE org_id = $1", org_id)
        return (0, 0) if row is None else (row["clock"], row["songs"])

    async def count(self) -> int:
        async with transient():
            return int(await self._pool.fetchval("SELECT coalesce(sum(songs), 0) FROM media.song_clocks"))

    async def changes(self, org_id: str, since: int, most: int) -> SongChanges:
        async with transient(), self._pool.acquire() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                newest = await connection.fetchval("SELECT clock FROM media.song_clocks WHERE org_id = $1", org_id) or 0
                rows = await connection.fetch(CHANGED, org_id, since, most, newest)
                upto = max((row["clock"] for row in rows), default=newest) if len(rows) > most else newest
                removed = await connection.fetch(REMOVED, org_id, since, upto)
        added = [Numbered(row["number"], row["vector"]) for row in rows]
        return SongChanges(upto, added, [row["number"] for row in removed])

    async def every(self, org_id: str, at_once: int) -> AsyncIterator[Sequence[SongRow]]:
        behind = 0
        while True:
            async with transient():
                rows = await self._pool.fetch(BETWEEN, org_id, behind, at_once)
            if not rows:
                return
            behind = rows[-1]["number"]
            yield [_song(row) for row in rows]


class _TooMany(Exception):
    """The organisation would have more songs than it may; what was begun is taken back."""


async def _put(connection: Connection, org_id: str, rows: Sequence[SongRow], most: int) -> bool:
    locked = await connection.fetchrow(LOCK, org_id)
    if locked is None:
        raise RuntimeError("the clock of an organisation has no row")
    # Of rows with one id the last counts.
    wanted = {row.id: row for row in rows}
    gone = await connection.fetch(FORGET, org_id, list(wanted), locked["clock"])
    made = {row["id"]: row["created_at"] for row in gone}
    more = len(wanted) - len(made)
    if more > 0 and locked["songs"] + more > most:
        raise _TooMany
    values = [(*_kept(row, made.get(row.id)), locked["clock"]) for row in wanted.values()]
    await connection.executemany(INSERT, values)
    await connection.execute(COUNT, org_id, more)
    return True


def _kept(row: SongRow, created_at: Any) -> tuple[Any, ...]:
    """The columns of a row; one that takes the place of another keeps its age."""
    values = {name: getattr(row, name) for name in NAMES}
    return tuple({**values, "created_at": created_at or row.created_at}.values())


def _song(row: Any) -> SongRow:
    return SongRow(**{name: row[name] for name in NAMES})


def _values(wanted: SongFilter) -> tuple[Any, ...]:
    return (
        wanted.artist,
        wanted.genre,
        wanted.tag,
        wanted.year_from,
        wanted.year_to,
        wanted.tempo_from,
        wanted.tempo_to,
        wanted.key,
        wanted.mode,
    )

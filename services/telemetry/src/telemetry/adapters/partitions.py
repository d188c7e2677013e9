"""Partitions: one for each retention and day, made before they are needed, dropped when their time is over."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import asyncpg
import structlog

from common.events.interaction_items import MAX_AGE_SECONDS, MAX_AHEAD_SECONDS
from common.storage.postgres import Connection, Pool, transient
from telemetry import metrics
from telemetry.row_shapes import COLUMNS

log = structlog.get_logger(__name__)

DAY_SECONDS = 86_400
# Known for longer than an id of that day is taken.
IDS_DAYS = (MAX_AGE_SECONDS + MAX_AHEAD_SECONDS) // DAY_SECONDS + 2
BY_DAY = ("ids", "batches")
DAYS_AHEAD = 2
LEAF = re.compile(r"(?P<table>[a-z_]+?)(?:_k(?P<keep>\d+))?_(?P<day>\d{8})")
# Instances take turns; a drop waits no longer than this for readers, and is tried again with the next sweep.
LOCK_KEY = 0x50415254
LOCK_SECONDS = 2
# Every partition of the schema that has rows of its own.
LEAVES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'telemetry' AND c.relispartition AND c.relkind = 'r'
"""


class Leaf(NamedTuple):
    """Where rows lie: how many days they are kept, and their day."""

    keep: int
    day: date


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


class Partitions:
    """Makes and drops partitions; what is known to be there costs nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: set[Leaf] = set()
        self._known_days: set[date] = set()

    async def ensure(self, leaves: Iterable[Leaf], days: Iterable[date], why: str = "demand") -> None:
        """Make those that are missing; `days` are of ids and batches."""
        new, new_days = set(leaves) - self._known, set(days) - self._known_days
        if not new and not new_days:
            return
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
            for leaf in sorted(new):
                for table in COLUMNS:
                    await _make_class(connection, table, leaf.keep)
                    await _make_leaf(connection, table, f"{table}_k{leaf.keep}", leaf.day, why)
            for day in sorted(new_days):
                for table in BY_DAY:
                    await _make_leaf(connection, table, table, day, why)
        self._known |= new
        self._known_days |= new_days

    def forget(self) -> None:
        """Somebody else may have dropped some."""
        self._known.clear()
        self._known_days.clear()

    async def make_ahead(self, keeps: Iterable[int]) -> None:
        """Those of today and the days around it."""
        days = [today() + timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD + 1)]
        await self.ensure([Leaf(keep, day) for keep in keeps for day in days], days, "ahead")

    async def drop_expired(self) -> int:
        """Drop what is past its retention; how many were."""
        async with transient():
            names = [row["name"] for row in await self._pool.fetch(LEAVES)]
        dropped = 0
        for name in names:
            found = LEAF.fullmatch(name)
            if found is None or not _is_over(found, today()):
                continue
            dropped += await self._drop(name)
        if dropped:
            self.forget()
        return dropped

    async def _drop(self, name: str) -> bool:
        async with transient(), self._pool.acquire() as connection:
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                    await connection.execute(f'DROP TABLE IF EXISTS telemetry."{name}"')
            except asyncpg.LockNotAvailableError:
                log.info("partition in use, dropped later", partition=name)
                return False
        metrics.PARTITIONS_DROPPED.inc()
        log.info("partition dropped", partition=name)
        return True


async def leaves_of(pool: Pool, keep: int) -> list[date]:
    """The days of which there are partitions of a retention; raises asyncpg's errors."""
    found = (LEAF.fullmatch(row["name"]) for row in await pool.fetch(LEAVES))
    return sorted({_day(leaf) for leaf in found if leaf is not None and leaf["keep"] == str(keep)})


def _day(found: re.Match[str]) -> date:
    return datetime.strptime(found["day"], "%Y%m%d").replace(tzinfo=UTC).date()


def expired(keep: int, day: date, now: date) -> bool:
    """Whether rows of a day are past their retention: they were kept for so many whole days."""
    return day + timedelta(days=keep) < now


def _is_over(found: re.Match[str], now: date) -> bool:
    return expired(IDS_DAYS if found["keep"] is None else int(found["keep"]), _day(found), now)


async def _make_class(connection: Connection, table: str, keep: int) -> None:
    if await connection.fetchval("SELECT to_regclass($1)", f"telemetry.{table}_k{keep}") is None:
        await connection.execute(
            f"CREATE TABLE telemetry.{table}_k{keep} PARTITION OF telemetry.{table} FOR VALUES IN ({keep})"
            " PARTITION BY RANGE (day)"
        )


async def _make_leaf(connection: Connection, table: str, parent: str, day: date, why: str) -> None:
    """A table first, and then a partition: so nobody who reads or writes the others is kept waiting."""
    name = f"{parent}_{day:%Y%m%d}"
    if await connection.fetchval("SELECT to_regclass($1)", f"telemetry.{name}") is not None:
        return
    await connection.execute(
        f"CREATE TABLE telemetry.{name} (LIKE telemetry.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
    )
    await connection.execute(
        f"ALTER TABLE telemetry.{parent} ATTACH PARTITION telemetry.{name}"
        f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
    )
    metrics.PARTITIONS_MADE.labels(why).inc()

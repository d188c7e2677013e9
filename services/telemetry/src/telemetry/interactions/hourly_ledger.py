"""The ledger: what was accepted is stored, sampled out, parked or repeated, or it is missing."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from common.events.interaction_ids import day_of
from common.events.interaction_queries import (
    BatchFate,
    BatchFateRequested,
    ItemFate,
    Ledger,
    LedgerHour,
    LedgerRequested,
)
from common.events.reply import Reply
from common.failures import Refused, Unavailable
from telemetry import metrics
from telemetry.interactions.session_reading import away
from telemetry.ports import LedgerBook

log = structlog.get_logger(__name__)

HOUR_SECONDS = 3600
MAX_HOURS = 31 * 24
# What is on its way a few minutes after its hour is lost, or telemetry is so far behind that somebody has to know.
SETTLED_SECONDS = 300.0
WATCH_SECONDS = 15.0
WATCHED_HOURS = 48
KEPT_HOURS = 400 * 24

Row = Mapping[str, Any]


async def tell(query: LedgerRequested, book: LedgerBook) -> Reply[Ledger]:
    """200. Refuses (400) too long a span, and (503) everything while the store is away."""
    first, last = int(query.since // HOUR_SECONDS), int(-(-query.until // HOUR_SECONDS))
    if not 0 < last - first <= MAX_HOURS:
        raise Refused(400, f"Between one and {MAX_HOURS} hours can be asked for at once.", "invalid_value", "since")
    try:
        hours = [_hour(row) for row in await book.hours(query.org_id, first, last)]
    except Unavailable:
        raise away() from None
    return Reply(Ledger(object="list", data=tuple(hours), balanced=not any(hour.missing for hour in hours)))


def _hour(row: Row) -> LedgerHour:
    counts = {name: row[name] for name in ("accepted", "stored", "sampled_out", "parked", "repeated")}
    return LedgerHour(hour=float(row["hour"] * HOUR_SECONDS), **counts, missing=missing(row))


def missing(row: Row) -> int:
    """How many of an hour nobody knows anything of."""
    known: int = row["stored"] + row["sampled_out"] + row["parked"] + row["repeated"]
    return max(0, int(row["accepted"]) - known)


async def fate(query: BatchFateRequested, book: LedgerBook) -> Reply[BatchFate]:
    """200: what became of each item. Refuses (503) while the store is away."""
    try:
        row = await book.batch(query.org_id, day_of(query.batch_id), query.batch_id)
    except Unavailable:
        raise away() from None
    return Reply(_pending(query.count) if row is None else _settled(row))


def _pending(count: int) -> BatchFate:
    """Nothing is stored yet, so it is not known which items they are: those that were told to be accepted."""
    items = tuple(ItemFate(index=None, id=None, state="accepted") for _ in range(count))
    return BatchFate(accepted=count, stored=0, sampled_out=0, parked=0, repeated=0, pending=count, items=items)


def _settled(row: Row) -> BatchFate:
    parked: dict[str, str] = orjson.loads(row["parked"])
    sampled, repeated = set(row["sampled_out"]), set(row["repeated"])
    items = []
    for position, id in zip(row["positions"], row["ids"], strict=True):
        known: dict[str, Any] = {"index": position, "id": str(id)}
        if position in repeated:
            items.append(ItemFate(**known, state="repeated", reason="an item with this id was stored before"))
        elif str(position) in parked:
            items.append(ItemFate(**known, state="parked", reason=parked[str(position)]))
        else:
            items.append(ItemFate(**known, state="sampled_out" if position in sampled else "stored"))
    count = {
        state: sum(item.state == state for item in items) for state in ("stored", "sampled_out", "parked", "repeated")
    }
    return BatchFate(accepted=len(items), **count, pending=0, items=tuple(items))


async def watch(book: LedgerBook) -> None:
    """For good: have the metrics tell what is missing of the hours that are over."""
    while True:
        try:
            last = int((time.time() - SETTLED_SECONDS) // HOUR_SECONDS)
            short = [lost for row in await book.hours(None, last - WATCHED_HOURS, last) if (lost := missing(row))]
            await book.forget(last - KEPT_HOURS)
        except Unavailable as error:
            log.info("ledger not looked at", error=str(error))
        else:
            metrics.LEDGER_MISSING.set(sum(short))
            metrics.LEDGER_HOURS.set(len(short))
        await asyncio.sleep(WATCH_SECONDS)

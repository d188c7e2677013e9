"""The sweep: partitions made and dropped, rows moved to the retention that holds for them, users deleted."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from common.failures import Unavailable
from telemetry.interactions.terms import TermsOf
from telemetry.policies import user_deletions
from telemetry.ports import Kept, Retention
from telemetry.settings import TelemetrySettings

log = structlog.get_logger(__name__)

# A deletion is begun this soon, whatever else a sweep has to do.
DELETION_SECONDS = 2.0


async def run(retention: Retention, terms: TermsOf, settings: TelemetrySettings) -> None:
    """Sweep for good."""
    while True:
        try:
            await sweep(retention, terms, settings)
        except Unavailable as error:
            log.info("retention not swept", error=str(error))
        await asyncio.sleep(settings.telemetry_sweep_seconds)


async def delete_users(retention: Retention, terms: TermsOf) -> None:
    """Carry deletions out for good."""
    while True:
        try:
            await user_deletions.carry_out(retention, terms)
        except Unavailable as error:
            log.info("users not deleted", error=str(error))
        await asyncio.sleep(DELETION_SECONDS)


async def sweep(retention: Retention, terms: TermsOf, settings: TelemetrySettings) -> None:
    """Once; raises `Unavailable` while the store is away."""
    found = await retention.kept()
    keeps = {settings.telemetry_prod_days, settings.telemetry_dev_days, *(kept.keep for kept in found)}
    await retention.make_ahead(sorted(keeps))
    for kept in found:
        await _settle(kept, retention, terms)
    await retention.drop_expired()


async def _settle(kept: Kept, retention: Retention, terms: TermsOf) -> None:
    """Have rows of an organisation and mode lie where its policy says, and drop the sessions that have none left."""
    keep = (await terms.of(kept.org_id)).keep[kept.mode]
    if keep != kept.keep:
        moved = await retention.move(kept, keep)
        log.info("retention changed", org_id=kept.org_id, mode=kept.mode, days=keep, rows=moved)
    await retention.drop_sessions(kept.org_id, kept.mode, datetime.now(UTC) - timedelta(days=keep + 1))

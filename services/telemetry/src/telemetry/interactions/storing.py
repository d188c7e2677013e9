"""Storing interactions: masked, made into rows, and kept once; what cannot be is parked, and said so in the ledger."""

from common.events.interactions import InteractionsAccepted, InteractionsTallied
from common.failures import Park
from telemetry import metrics
from telemetry.interactions.batch_opening import Openings
from telemetry.interactions.terms import TermsOf
from telemetry.ports import Interactions


async def store(batch: InteractionsAccepted, terms: TermsOf, openings: Openings, interactions: Interactions) -> None:
    """Keep a batch. Raises `Unavailable` while the store is away, and `Park` where something of it cannot be kept.

    What can be kept is kept by then: a batch that is replayed brings the rest.
    """
    found = await terms.of(batch.org_id)
    async with openings.opened(batch, found) as rows:
        await interactions.add(rows)
    if rows.parked:
        reason = rows.parked[0].reason
        metrics.MASKING_BROKEN.inc(sum((item.reason or "").startswith("masking") for item in rows.parked))
        raise Park(f"{len(rows.parked)} of {len(rows.items)} items: {reason}")


async def tally(told: InteractionsTallied, interactions: Interactions) -> None:
    """Note what a gateway has accepted; raises `Unavailable` while the store is away."""
    await interactions.tally(told)

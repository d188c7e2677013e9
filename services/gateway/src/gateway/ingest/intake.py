"""The intake of a gateway process: acceptance, with its tallies told and its canary sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.bus.port import Log
from common.kernel.tasks import Tasks, end
from gateway.http.log_quota import LogQuota
from gateway.ingest.acceptance import Acceptance
from gateway.ingest.canary import Canary
from gateway.ingest.tallies import Tallies
from gateway.metrics import CANARY_INTERVAL
from gateway.settings import GatewaySettings


@asynccontextmanager
async def open_intake(
    durable: Log, quota: LogQuota, tasks: Tasks, settings: GatewaySettings
) -> AsyncIterator[Acceptance]:
    """Acceptance; at the end what was accepted is told once more."""
    tallies, box = Tallies(), settings.secret_box()
    acceptance = Acceptance(durable, quota, box, tallies)
    chores = [tasks.spawn(tallies.run(durable), "tell-tallies")]
    canary_seconds = settings.canary_seconds if box.works else 0.0
    CANARY_INTERVAL.set(canary_seconds)
    if canary_seconds:
        chores.append(tasks.spawn(Canary(acceptance).run(canary_seconds), "send-canary"))
    try:
        yield acceptance
    finally:
        await end(*chores)
        await tallies.tell(durable)

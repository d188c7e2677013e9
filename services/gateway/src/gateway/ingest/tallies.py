"""Tallies: how many items of each organisation and hour the log has acknowledged to this process."""

import asyncio
import time
import uuid
from collections.abc import Callable

import structlog

from common.bus.port import BusUnavailableError, Log
from common.events.envelope import Event
from common.events.interactions import INTERACTIONS_TALLIED, InteractionsTallied

log = structlog.get_logger(__name__)

HOUR_SECONDS = 3600
# How long it takes at most until a loss on the log can be seen where nothing else of its organisation follows.
TELL_SECONDS = 5.0
# An hour that is over is told once more, and then forgotten.
KEPT_HOURS = 2
TOLD_AT_ONCE = 500


class Tallies:
    """Counts what was accepted. Each record carries the count before it, and `run` tells it from time to time."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.source = uuid.uuid4().hex
        self._now = now
        self._confirmed: dict[tuple[str, int], int] = {}
        self._untold: set[tuple[str, int]] = set()

    def confirmed(self, org_id: str, hour: int) -> int:
        """What was acknowledged so far."""
        return self._confirmed.get((org_id, hour), 0)

    def confirm(self, org_id: str, hour: int, count: int) -> None:
        """The log has acknowledged so many more."""
        key = (org_id, hour)
        self._confirmed[key] = self._confirmed.get(key, 0) + count
        self._untold.add(key)

    async def run(self, durable: Log) -> None:
        """Tell for good."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell(durable)

    async def tell(self, durable: Log) -> None:
        """Publish what has grown; what cannot be published is told the next time."""
        while self._untold:
            part = sorted(self._untold)[:TOLD_AT_ONCE]
            tallies = [
                InteractionsTallied(
                    org_id=org_id, source=self.source, hour=hour, confirmed=self._confirmed[org_id, hour]
                )
                for org_id, hour in part
            ]
            self._untold.difference_update(part)
            try:
                await durable.publish(*(Event(INTERACTIONS_TALLIED, tally).record() for tally in tallies))
            except BusUnavailableError as error:
                self._untold.update(part)
                log.warning("tallies not told", error=str(error))
                return
        oldest = int(self._now() // HOUR_SECONDS) - KEPT_HOURS
        for key in [key for key in self._confirmed if key[1] < oldest and key not in self._untold]:
            del self._confirmed[key]

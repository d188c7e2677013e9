"""The canary: an interaction of nobody's, which takes the way of all others and shows that the way is open."""

import asyncio
import time

import structlog

from common.events.interactions import CANARY_ORG
from common.failures import Refused
from gateway.ingest.acceptance import Acceptance
from gateway.ingest.item_check import sort_out

log = structlog.get_logger(__name__)

# No key of a caller has this id.
KEY_ID = "canary"


class Canary:
    """Sends one from time to time; telemetry measures how long it took until it was visible."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance

    async def run(self, seconds: float) -> None:
        """Send for good. What is refused is not sent again: that none arrives is what there is an alert for."""
        while True:
            await self._send()
            await asyncio.sleep(seconds)

    async def _send(self) -> None:
        now = time.time()
        item = {"mode": "dev", "session_id": "canary", "user_prompt": "Is the way open?", "ai_response": "It is."}
        found = sort_out([item], CANARY_ORG, now, defaults={}, measured=False)
        try:
            await self._acceptance.accept(found, CANARY_ORG, KEY_ID)
        except Refused as refused:
            log.warning("canary not accepted", error=refused.message)

"""The gateways that listen to running turns: where one is gone, so are its clients."""

import asyncio
import time

from common.bus.live.reader import MAILBOX_TTL_MS
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from llm_stream.turns.running_turns import RunningTurns
from llm_stream.turns.stop import Stop

WATCH_SECONDS = 1.0


class GatewayWatch:
    """Stops turns whose gateway instance is gone; `owner` is our own mailbox."""

    def __init__(self, live: LiveWriter, turns: RunningTurns, owner: str) -> None:
        self._live = live
        self._turns = turns
        self._owner = owner
        self._trust_from = 0.0  # monotonic seconds: what was said before says nothing about a gateway

    async def run(self) -> None:
        """Watch for good."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)
            if time.monotonic() - began > 2 * WATCH_SECONDS:
                # We stood still; where the whole machine did, gateways need a moment to be heard again.
                self._trust_from = time.monotonic() + MAILBOX_TTL_MS / 1000
            mailboxes = {turn.delivery.mailbox for turn in self._turns.listened_to()}
            # Our own is asked for as well: an engine that was away while nothing ran is to be noticed too.
            for mailbox in {self._owner, *mailboxes}:
                if await self._gone(mailbox):
                    self._stop_turns(mailbox)

    async def _gone(self, mailbox: str) -> bool:
        """Whether nobody reads a mailbox although the engine answers, as it did for a while."""
        began = time.monotonic()
        try:
            gone = not await self._live.listening(mailbox)
        except BusUnavailableError:
            gone = True
            began = float("-inf")
        now = time.monotonic()
        # While the engine is away, or hangs, nobody can be heard; that says nothing about the gateway.
        if now - began > WATCH_SECONDS:
            self._trust_from = now + MAILBOX_TTL_MS / 1000
        return gone and now > self._trust_from

    def _stop_turns(self, mailbox: str) -> None:
        for turn in self._turns.listened_to():
            if turn.delivery.mailbox == mailbox:
                turn.client_left(Stop("gateway_lost", time.time()), turn.request.resume_grace)

"""Who speaks a request, in the live store: a request that is delivered twice is spoken once.

One whose speaker died after the client had heard something is not begun again: its client is told.
"""

import time
from enum import Enum, auto

import orjson

from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError

PREFIX = "sonant:speech:claim:"
# A request is not delivered again after this long.
KEEP_SECONDS = 3600


class SpeechClaim(Enum):
    """What claiming came to."""

    OURS = auto()
    # Somebody else is at it, or it is done.
    TAKEN = auto()
    # Its speaker died in the middle.
    LOST = auto()


class SpeechClaims:
    """The claims. `owner` is our own mailbox: others tell by it whether we still live."""

    def __init__(self, live: LiveWriter, owner: str) -> None:
        self._live = live
        self._owner = owner

    async def claim(self, request_id: str) -> SpeechClaim:
        """Try to become the one who speaks; where the store is away nobody else can claim it either."""
        key = PREFIX + request_id
        ours = orjson.dumps({"owner": self._owner, "at": time.time()})
        try:
            former = await self._live.command("SET", key, ours, "NX", "GET", "EX", KEEP_SECONDS)
            if former is None:
                return SpeechClaim.OURS
            state = orjson.loads(former)
            if state.get("ended"):
                return SpeechClaim.TAKEN
            if await self._live.listening(state["owner"]):
                return SpeechClaim.TAKEN
            if state.get("begun"):
                return SpeechClaim.LOST
            await self._live.command("SET", key, ours, "EX", KEEP_SECONDS)
        except BusUnavailableError:
            return SpeechClaim.OURS
        return SpeechClaim.OURS

    def note_begun(self, request_id: str) -> None:
        """From here on a crash must not start it over; precedes the first frame on the same connection."""
        self._note(request_id, "begun")

    def note_ended(self, request_id: str) -> None:
        """It is over; precedes the last frame on the same connection."""
        self._note(request_id, "ended")

    def _note(self, request_id: str, what: str) -> None:
        state = orjson.dumps({"owner": self._owner, what: True})
        self._live.queue_command("SET", PREFIX + request_id, state, "XX", "KEEPTTL")

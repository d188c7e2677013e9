"""The buffer that all upstream connections read into, and whose turn it is where many have much to say at once."""

import asyncio
from collections import deque
from typing import Protocol

# What one read brings at most. An answer is held up only behind what it was read: with the event loop's own 256 KiB
# thousands of answers that nobody reads would cost a quarter of a MiB each before the first of them could wait.
READ_BYTES = 64 * 1024
# A read from this size on is large. What a model says as it thinks of it comes in packets far below.
LARGE_READ_BYTES = 16 * 1024
# Large reads of all connections in one round of the event loop; each costs up to a millisecond to be handed on. Behind
# them a read brings no more than a few words.
LARGE_READS = 8
SMALL_READ_BYTES = 4 * 1024


class Reader(Protocol):
    """What reads into the inbox."""

    def rest(self) -> None:
        """Read nothing until `wake`."""

    def wake(self) -> None:
        """Read on."""


class Inbox:
    """One buffer: what was read is handed on before the next read. Large reads take turns, small ones need not."""

    def __init__(self) -> None:
        self.whole = memoryview(bytearray(READ_BYTES))
        self.buffer = self.whole  # to be read into now
        self.large = LARGE_READ_BYTES  # what counts as a large read now
        self._resting: deque[Reader] = deque()
        self._reads = 0
        self._due = False

    def took_large(self, reader: Reader) -> None:
        """A reader has read much; beyond what one round may bring it rests until others have had their turn."""
        self._reads += 1
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next_round)
        if self._reads >= LARGE_READS:
            self.buffer, self.large = self.whole[:SMALL_READ_BYTES], SMALL_READ_BYTES
        if self._reads > LARGE_READS:
            reader.rest()
            self._resting.append(reader)

    def _next_round(self) -> None:
        self._reads = 0
        self.buffer, self.large = self.whole, LARGE_READ_BYTES
        for _ in range(min(LARGE_READS, len(self._resting))):
            self._resting.popleft().wake()
        self._due = bool(self._resting)
        if self._due:
            asyncio.get_running_loop().call_soon(self._next_round)

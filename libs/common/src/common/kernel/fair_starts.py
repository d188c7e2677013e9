"""What begins next, where very much comes at once: of each owner a little in every round of the event loop.

A thousand requests of one owner that begin in one round keep the loop from everybody else until all of them have had
their first step, and then their second. Begun a few at a time they take no longer, and others come in between.
"""

import asyncio
from collections import deque

# A round is then over after some milliseconds. More would be no faster: what has begun has to be gone on with.
AT_ONCE = 4
# Who was alone for so long keeps nobody waiting.
ALONE_SECONDS = 1.0


class FairStarts:
    """Lets at most `at_once` of each owner begin in one round of the event loop, in the order in which they came.

    An owner that is alone begins as much as it likes: to wait costs a wake-up each time.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._begun: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._due = False
        self._latest = ""
        self._shared_until = 0.0  # there were several owners until then (seconds of the loop)

    @property
    def waiting(self) -> int:
        """How many wait to begin."""
        return sum(map(len, self._waiting.values()))

    async def take(self, owner: str) -> None:
        """Wait until it is the owner's turn; nearly always that is at once."""
        loop = asyncio.get_running_loop()
        if owner != self._latest:
            self._shared_until = loop.time() + ALONE_SECONDS if self._latest else 0.0
            self._latest = owner
        elif not self._waiting and loop.time() > self._shared_until:
            return
        begun = self._begun.get(owner, 0)
        if not self._due:
            self._due = True
            loop.call_soon(self._next_round)
        if begun < self._at_once and owner not in self._waiting:
            self._begun[owner] = begun + 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        await turn

    def _next_round(self) -> None:
        self._begun.clear()
        for owner, queue in list(self._waiting.items()):
            begun = 0
            while queue and begun < self._at_once:
                turn = queue.popleft()
                # Whoever has left needs no turn.
                if not turn.done():
                    turn.set_result(None)
                    begun += 1
            self._begun[owner] = begun
            if not queue:
                del self._waiting[owner]
        self._due = bool(self._begun)
        if self._due:
            asyncio.get_running_loop().call_soon(self._next_round)

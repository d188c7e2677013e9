"""Places: who may work at the same time, shared fairly between organisations once there are too few.

Max-min fairness: what one owner leaves over the others may have, and a freed place goes to whoever has the fewest.
Work under way cannot be taken back. So there are some places beyond the total, for owners below their fair share alone:
one who takes everything while nobody else is there keeps no newcomer waiting.
"""

import asyncio
from collections import deque

# How large a part of the total there is beyond it, for those below their share.
EXTRA_PART = 4
# How many times its places a consumer takes in, so that what waits for a place keeps nobody else's from being seen.
ROOM_FACTOR = 4


def owner_of(key: str) -> str:
    """The organisation that a record belongs to: its key up to the first mark, as every key of ours begins with it."""
    return key.partition("/")[0].partition(":")[0]


class Places:
    """At most `total` in use; a quarter more (at least one) for owners that have less than their fair share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._most = total + max(1, total // EXTRA_PART)
        self._taken: dict[str, int] = {}
        self._in_use = 0
        # Owners in the order in which they began to wait.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def full(self) -> bool:
        """Whether an owner at its share or above gets nothing now."""
        return self._in_use >= self.total

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._waiting.values()))

    def take(self, owner: str) -> bool:
        """Take a place at once, if there is one for this owner; to be given back."""
        if owner in self._waiting or not self._may_have(owner):
            return False
        self._grant(owner)
        return True

    def _may_have(self, owner: str) -> bool:
        if self._in_use < self.total:
            return True
        return self._in_use < self._most and self._taken.get(owner, 0) < self._share(owner)

    def _share(self, owner: str) -> int:
        owners = len(self._taken.keys() | self._waiting.keys() | {owner})
        return max(1, self.total // owners)

    def _grant(self, owner: str) -> None:
        self._in_use += 1
        self._taken[owner] = self._taken.get(owner, 0) + 1

    async def wait(self, owner: str, seconds: float | None) -> bool:
        """Wait for a place, behind what waits of this owner; False where none came within so many `seconds`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It came at the last moment.
                self.give_back(owner)
            else:
                self._leave(owner, turn)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def _leave(self, owner: str, turn: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(owner)
        if queue is None or turn not in queue:
            # A place came free just after the time was over, and passed it by.
            return
        queue.remove(turn)
        if not queue:
            del self._waiting[owner]

    def give_back(self, owner: str) -> None:
        """Free a place; whoever waits and has the fewest gets it."""
        self._in_use -= 1
        left = self._taken[owner] - 1
        if left:
            self._taken[owner] = left
        else:
            del self._taken[owner]
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            owner = min(self._waiting, key=lambda each: self._taken.get(each, 0))
            if not self._may_have(owner):
                return
            queue = self._waiting[owner]
            turn = queue.popleft()
            if not queue:
                del self._waiting[owner]
            # One whose time is over is done already, and has yet to hear of it.
            if not turn.done():
                self._grant(owner)
                turn.set_result(None)


class Room:
    """How many records a consumer may have in hand, at work or waiting, and how many of them one owner's.

    Of `total` each owner may have an equal part, counted so that there is always a part left for one who comes new.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: dict[str, int] = {}
        self.in_hand = 0

    @property
    def left(self) -> int:
        """How many more may be taken in."""
        return self._total - self.in_hand

    def enter(self, owner: str) -> bool:
        """Count a record in; whether its owner was within its part."""
        held = self._held.get(owner, 0)
        self._held[owner] = held + 1
        self.in_hand += 1
        return held < self._total // (len(self._held) + 1)

    def leave(self, owner: str) -> None:
        """Count a record out."""
        self.in_hand -= 1
        left = self._held[owner] - 1
        if left:
            self._held[owner] = left
        else:
            del self._held[owner]


class Seating:
    """Places with the room to wait for them."""

    def __init__(self, total: int) -> None:
        self.places = Places(total)
        self.room = Room(total * ROOM_FACTOR)

"""How much of each kind of work one organisation may have under way at this gateway, whatever its keys allow."""

from collections import Counter
from collections.abc import Mapping

from common.kernel.fair_starts import FairStarts
from gateway.http import errors
from gateway.http.limits import Limits
from gateway.metrics import WORK_REFUSED
from gateway.ports import Caller, Work

# How soon something of it may be over.
RETRY_SECONDS = {Work.ANSWER: 1.0, Work.DRAFT: 5.0}
# Whose deliveries are before anything of them is read.
NOBODY = "-"
NAMES = {
    Work.ANSWER: "answers",
    Work.DRAFT: "tool drafts",
    Work.WRITE: "writes",
    Work.INGEST: "batches of interactions",
    Work.READ: "reads",
    Work.DELIVERY: "deliveries",
}


class WorkBounds:
    """Counts what is under way in this process, by organisation and kind, and refuses what is too much with 429.

    `most` gives the bound of each kind; 0 is none. Beside that the requests per minute of a key hold for all kinds.
    """

    def __init__(self, limits: Limits, most: Mapping[Work, int]) -> None:
        self._limits = limits
        self._most = most
        self._under_way: dict[Work, Counter[str]] = {work: Counter() for work in Work}
        self._starts = FairStarts()

    async def start(self, org_id: str = NOBODY) -> None:
        """Wait until another request of this organisation may begin: nearly always that is at once."""
        await self._starts.take(org_id)

    async def count(self, caller: Caller) -> None:
        """Take one of the key's requests per minute; raises Refused 429 or 503."""
        await self._limits.count(caller)

    def enter(self, work: Work, org_id: str = NOBODY) -> None:
        """Begin; raises Refused 429 where too much is under way, and then there is nothing to leave."""
        under_way, most = self._under_way[work], self._most[work]
        if most and under_way[org_id] >= most:
            WORK_REFUSED.labels(work).inc()
            message = f"Too many {NAMES[work]} of this organisation at the same time: at most {most} are taken."
            raise errors.rate_limited(message, code="too_many_at_once", retry=RETRY_SECONDS.get(work, 1.0))
        under_way[org_id] += 1

    def leave(self, work: Work, org_id: str = NOBODY) -> None:
        """End what was begun."""
        under_way = self._under_way[work]
        under_way[org_id] -= 1
        if not under_way[org_id]:
            del under_way[org_id]

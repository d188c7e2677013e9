"""Refusals of callers who do not heed them: the first leave at once, the others no faster than so many a second."""

import asyncio
import time

from aiohttp import web

from common.failures import Refused
from gateway.http import errors
from gateway.http.context import CALLER
from gateway.metrics import REFUSALS_PACED

# Of one organisation; whoever comes back when it is told to never gets as far.
AT_ONCE = 20
# A refusal waits no longer: its sender holds a connection meanwhile, and so do we.
MAX_PAUSE_SECONDS = 5.0
# Organisations that are looked at before those are forgotten that have heeded their refusals.
REMEMBERED = 1000


class RefusalPacing:
    """Says how long the next refusal of an organisation is to wait. `per_second` of 0 lets all leave at once.

    A refusal costs about as much as a small answer. A caller who asks again at once, in a hundred lanes, would
    otherwise take the whole event loop for being told no.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        # When the next refusal would be due, if all had been sent at the pace.
        self._due: dict[str, float] = {}
        self._tidy_at = REMEMBERED

    def pause(self, org_id: str, now: float) -> float:
        """Seconds for which to hold the next refusal back; `now` is monotonic."""
        if not self._interval:
            return 0.0
        if len(self._due) >= self._tidy_at:
            self._due = {org: due for org, due in self._due.items() if due > now}
            self._tidy_at = max(REMEMBERED, 2 * len(self._due))
        due = max(self._due.get(org_id, 0.0), now) + self._interval
        pause = min(max(0.0, due - now - AT_ONCE * self._interval), MAX_PAUSE_SECONDS)
        # A longer queue than the longest wait is none.
        self._due[org_id] = min(due, now + MAX_PAUSE_SECONDS + AT_ONCE * self._interval)
        return pause

    async def hold(self, request: web.Request, refused: Refused) -> None:
        """Hold the refusal of a request back where it is one of too many."""
        caller = request.get(CALLER)
        if caller is None or not _of_too_much(refused):
            return
        pause = self.pause(caller.org_id, time.monotonic())
        if pause > 0:
            REFUSALS_PACED.inc()
            await asyncio.sleep(pause)


PACING: web.AppKey[RefusalPacing] = web.AppKey("refusal_pacing", RefusalPacing)


def _of_too_much(refused: Refused) -> bool:
    """Whether the caller asks for more than it may have. What we or a provider lack is told at once."""
    return (refused.status == 429 and refused.type in errors.LIMIT_TYPES) or refused.code == "busy"

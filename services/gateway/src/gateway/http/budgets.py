"""Budgets of keys at the door: whoever has spent everything is told so before anything is asked of others."""

import time

import structlog

from common.events.keys import KeyBudget
from common.failures import Refused, StoreUnavailableError
from common.storage.key_budgets import KeyBudgets, Period, Spent, period_of
from gateway.http import errors
from gateway.metrics import LIMITS_REFUSED, LIMITS_UNAVAILABLE
from gateway.ports import Caller

log = structlog.get_logger(__name__)


class Budgets:
    """Turns callers away who have spent their budget. A key without one costs nothing."""

    def __init__(self, store: KeyBudgets) -> None:
        self._store = store

    async def check(self, caller: Caller) -> None:
        """Raises Refused: 429 `insufficient_quota` where nothing is left, 503 while the store does not answer."""
        if caller.budget is None:
            return
        period, spent = await self.look(caller.org_id, caller.budget)
        if spent.exhausts(caller.budget):
            LIMITS_REFUSED.labels("budget").inc()
            raise spent_refusal(period)

    async def look(self, org_id: str, budget: KeyBudget) -> tuple[Period, Spent]:
        """The period that is now, and what is spent in it. Raises Refused 503."""
        period = period_of(budget, time.time())
        try:
            return period, await self._store.spent(org_id, budget, period)
        except StoreUnavailableError as error:
            LIMITS_UNAVAILABLE.inc()
            log.warning("budget not checked", error=str(error))
            raise errors.unavailable("The budget of this API key cannot be checked right now.") from error


def spent_refusal(period: Period) -> Refused:
    """429: waiting a moment does not help."""
    message = f"The budget of this API key is spent until {period.told}."
    return errors.rate_limited(message, type="insufficient_quota", code="insufficient_quota", retry=None)

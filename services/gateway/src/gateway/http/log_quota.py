"""How many bytes an organisation may put on the log in a minute, over all gateways."""

import time

import structlog

from common.failures import Refused, StoreUnavailableError
from gateway.http import errors
from gateway.http.limits import duration
from gateway.metrics import LIMITS_REFUSED, LIMITS_UNAVAILABLE
from gateway.ports import QuotaStore

log = structlog.get_logger(__name__)

# What a gateway takes from the common store at once: most requests are then settled from what is left of it.
PORTION_BYTES = 1024 * 1024
# Of a small quota a portion leaves something for the other gateways.
PORTION_SHARE = 16


class LogQuota:
    """Counts what organisations put on the log. `bytes_per_minute` of 0 counts nothing."""

    def __init__(self, store: QuotaStore, bytes_per_minute: int) -> None:
        self._store = store
        self._limit = bytes_per_minute
        self._portion = min(PORTION_BYTES, bytes_per_minute // PORTION_SHARE)
        self._left: dict[str, int] = {}
        self._spent_until: dict[str, float] = {}

    def check(self, org_id: str) -> None:
        """Raise Refused 429 while the quota is known to be spent: before a body is read."""
        if not self._spent_until:
            return
        wait = self._spent_until.get(org_id, 0.0) - time.monotonic()
        if wait > 0:
            raise self._refusal(wait)
        self._spent_until.pop(org_id, None)

    async def take(self, org_id: str, size: int) -> None:
        """Count a request of `size` bytes. Raises Refused: 429 where the quota is spent, 503 while nobody can tell."""
        if not self._limit:
            return
        if self._left.get(org_id, 0) >= size:
            self._left[org_id] -= size
            return
        self.check(org_id)
        granted = await self._granted(org_id, size)
        # Others may have taken from what was left meanwhile.
        self._left[org_id] = self._left.get(org_id, 0) + granted - size

    async def _granted(self, org_id: str, size: int) -> int:
        try:
            granted, wait_ms = await self._store.grant(org_id, self._limit, size, size + self._portion)
        except StoreUnavailableError as error:
            LIMITS_UNAVAILABLE.inc()
            raise errors.unavailable("The limits of this organisation cannot be checked right now.") from error
        if not granted:
            self._spent_until[org_id] = time.monotonic() + wait_ms / 1000
            raise self._refusal(wait_ms / 1000)
        return granted

    def _refusal(self, wait: float) -> Refused:
        LIMITS_REFUSED.labels("bytes").inc()
        message = (
            f"Rate limit of this organisation reached: {self._limit} bytes of requests per minute. "
            f"Try again in {duration(max(1, round(wait * 1000)))}."
        )
        return errors.rate_limited(message, retry=wait)

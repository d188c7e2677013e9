"""Sends what is due: every event at least once to every endpoint that wants it, or it is listed as failed."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from common.failures import ProviderDown, Refused, StoreUnavailableError
from common.providers.retry_after import retry_after
from common.providers.webhook_signature import signature
from common.redaction import redact_text
from common.secret_box import SecretBox, SecretError
from media.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES, WEBHOOK_ENDPOINTS_DISABLED
from media.webhook_ports import Due, Endpoint, WebhookCaller, WebhookQueue
from media.webhooks.delivery_schedule import Outcome, verdict

log = structlog.get_logger(__name__)

# What another instance has left, or the clock makes due, is found this late at most.
LOOK_SECONDS = 1.0
# How long a claimed delivery is ours beyond the time that its request may take; then it is taken for one whose
# process died.
HOLD_SECONDS = 5.0
MAX_ERROR_TEXT = 200
GONE_REASON = "It answered 410: it wants no more."
DEAD_REASON = "Nothing was received for days."


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """Requests at the same time, in all and to one endpoint, how long one may take, and what comes between two.

    Times are in seconds.
    """

    at_once: int
    seconds: float
    delays: Sequence[float]
    per_endpoint: int = 4


class WebhookSender:
    """The loop that claims deliveries and makes the requests."""

    def __init__(self, queue: WebhookQueue, http: WebhookCaller, secrets: SecretBox, limits: SenderLimits) -> None:
        self._queue = queue
        self._http = http
        self._secrets = secrets
        self._limits = limits
        self._busy: Counter[str] = Counter()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled. A request under way is then broken off, and made again by whoever comes next."""
        async with asyncio.TaskGroup() as group:
            while True:
                for due in await self._claim():
                    self._busy[due.endpoint.id] += 1
                    group.create_task(self._deliver(due), name="send-webhook")
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim(self) -> list[Due]:
        room = self._limits.at_once - self._busy.total()
        if room <= 0:
            return []
        try:
            hold = 2 * self._limits.seconds + HOLD_SECONDS
            return list(await self._queue.claim(room, self._limits.per_endpoint, self._busy, hold))
        except StoreUnavailableError:
            return []

    async def _deliver(self, due: Due) -> None:
        try:
            await self._try(due)
        except StoreUnavailableError:
            log.warning("webhook's outcome not noted; it is sent again", delivery=due.id)
        finally:
            self._busy -= Counter((due.endpoint.id,))
            self.wake()

    async def _try(self, due: Due) -> None:
        begun, at = time.monotonic(), time.time()
        outcome = await self._post(due, int(at))
        found = verdict(outcome, due.tries + 1, self._limits.delays)
        attempt = {"at": at, "seconds": round(time.monotonic() - begun, 4), **_shown(outcome)}
        WEBHOOK_ATTEMPTS.labels("received" if outcome.received else "refused" if outcome.status else "lost").inc()
        if found.state != "pending":
            WEBHOOK_DELIVERIES.labels(found.state).inc()
        disabled = await self._queue.settle(
            due,
            attempt,
            state=found.state,
            wait=found.wait,
            disable=GONE_REASON if found.gone else None,
            dead=DEAD_REASON,
        )
        if disabled:
            WEBHOOK_ENDPOINTS_DISABLED.inc()
            log.warning("webhook endpoint disabled", endpoint=due.endpoint.id, org_id=due.endpoint.org_id)

    async def _post(self, due: Due, at: int) -> Outcome:
        try:
            secret, also = self._secrets_of(due.endpoint)
            headers = {"content-type": "application/json", **signature(secret, due.message_id, due.body, at, also=also)}
            answer = await self._http.post(due.endpoint.url, due.body, headers=headers, seconds=self._limits.seconds)
        except (Refused, ProviderDown) as error:
            return Outcome(error=redact_text(error.message)[:MAX_ERROR_TEXT])
        except SecretError as error:
            return Outcome(error=str(error)[:MAX_ERROR_TEXT])
        return Outcome(answer.status, retry_after=retry_after(answer.headers))

    def _secrets_of(self, endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
        """The secret, and the former one while both hold. Raises SecretError."""
        secret = self._secrets.open(endpoint.sealed_secret, endpoint.org_id)
        until = endpoint.old_secret_until
        if endpoint.sealed_old_secret is None or until is None or until <= datetime.now(UTC):
            return secret, ()
        return secret, (self._secrets.open(endpoint.sealed_old_secret, endpoint.org_id),)


def _shown(outcome: Outcome) -> dict[str, object]:
    return {"status": outcome.status} if outcome.status is not None else {"error": outcome.error}

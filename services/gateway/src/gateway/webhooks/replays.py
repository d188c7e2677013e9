"""Whether a webhook came before: each delivery is published once."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from common.failures import StoreUnavailableError
from gateway.http.errors import unavailable
from gateway.ports import DeliveryState, ReplayStore
from gateway.webhooks.webhook_delivery import Delivery

log = structlog.get_logger(__name__)

# Far longer than a signature is good, so that a late delivery of the provider's is no second event either.
KEEP_SECONDS = 24 * 3600
# How long a gateway that died in the middle keeps others from taking the delivery over.
LEASE_SECONDS = 30


class Replays:
    """Which deliveries have been published."""

    def __init__(self, store: ReplayStore) -> None:
        self._store = store

    @asynccontextmanager
    async def once(self, delivery: Delivery) -> AsyncIterator[bool]:
        """Hold a delivery: True where it is new; it counts as published when the body ends without an error.

        Raises Refused 503 while another process handles it, or the store does not answer.
        """
        try:
            state = await self._store.take(delivery.key, LEASE_SECONDS)
        except StoreUnavailableError as error:
            raise unavailable("Whether this webhook came before cannot be told right now.") from error
        if state is DeliveryState.UNDER_WAY:
            raise unavailable("This webhook is being taken in already.")
        if state is DeliveryState.DONE:
            yield False
            return
        try:
            yield True
        except BaseException:
            await _note("release", self._store.release(delivery.key))
            raise
        await _note("keep", self._store.keep(delivery.key, KEEP_SECONDS))


async def _note(what: str, change: Coroutine[Any, Any, None]) -> None:
    try:
        await change
    except StoreUnavailableError as error:
        # Published or not is decided; only a later delivery may be handled again, by the same event id.
        log.warning("webhook mark not changed", what=what, error=str(error))

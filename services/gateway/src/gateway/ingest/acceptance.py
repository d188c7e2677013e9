"""Acceptance: sealed items go onto the log, and are accepted once it has acknowledged them."""

import time

from common.bus.port import BusUnavailableError, Log
from common.events.envelope import Event
from common.events.interaction_ids import new_id
from common.events.interaction_items import MAX_AGE_SECONDS
from common.events.interactions import INTERACTIONS_ACCEPTED, InteractionsAccepted, lane
from common.secret_box import SecretBox
from common.storage.sealed_items import seal_items
from gateway.http import errors
from gateway.http.batch_ids import BatchId
from gateway.http.log_quota import LogQuota
from gateway.ingest.item_check import joined
from gateway.ingest.item_results import Sorted
from gateway.ingest.tallies import HOUR_SECONDS, Tallies
from gateway.metrics import INGEST_ITEMS


class Acceptance:
    """Puts items on the log. One batch is one record, whatever number of items it holds."""

    def __init__(self, log: Log, quota: LogQuota, box: SecretBox, tallies: Tallies) -> None:
        self._log = log
        self._quota = quota
        self._box = box
        self._tallies = tallies

    def check(self, org_id: str) -> None:
        """Before a body is read. Raises Refused: 429 where the quota is spent, 503 where nothing can be sealed."""
        if not self._box.works:
            message = "This installation takes no interactions, since SONANT_SECRET_KEYS is not set."
            raise errors.unavailable(message, code="unconfigured")
        self._quota.check(org_id)

    async def accept(self, items: Sorted, org_id: str, key_id: str) -> str:
        """The id of the batch, once the log has it.

        Raises Refused: 429 where the quota of the organisation is spent, 503 where the log did not acknowledge.
        """
        now = time.time()
        batch = BatchId(new_id(now), len(items.accepted))
        hour = int(now // HOUR_SECONDS)
        items_json = joined(items.accepted)
        payload = InteractionsAccepted(
            org_id=org_id,
            key_id=key_id,
            batch_id=batch.uuid,
            lane=lane(next(iter(items.sessions)) if len(items.sessions) == 1 else None, batch.uuid),
            count=batch.count,
            size=len(items_json),
            accepted_at=now,
            hour=hour,
            source=self._tallies.source,
            confirmed=self._tallies.confirmed(org_id, hour),
            origin=items.origin,
            sealed=seal_items(items_json, org_id, self._box),
        )
        # Nothing expires by it. But a log that is full refuses what has a deadline, and takes the ends of answers.
        record = Event(INTERACTIONS_ACCEPTED, payload, id=batch.uuid, deadline=now + MAX_AGE_SECONDS).record()
        await self._quota.take(org_id, len(record.value))
        try:
            await self._log.publish(record)
        except BusUnavailableError as error:
            INGEST_ITEMS.labels("unconfirmed").inc(batch.count)
            message = "It is not known whether this was accepted: send it again with the same ids."
            raise errors.unavailable(message, code="unconfirmed") from error
        self._tallies.confirm(org_id, hour, batch.count)
        INGEST_ITEMS.labels("accepted").inc(batch.count)
        return batch.sealed(org_id, self._box)

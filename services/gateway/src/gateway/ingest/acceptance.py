"""Acceptance: sealed items go onto the log, and are accepted once it has acknowledged them."""

import base64
import binascii
import time
import uuid
from dataclasses import dataclass

from common.bus.port import BusUnavailableError, Log
from common.events.envelope import Event
from common.events.interaction_ids import moment_of, new_id
from common.events.interaction_items import MAX_AGE_SECONDS
from common.events.interactions import INTERACTIONS_ACCEPTED, InteractionsAccepted, lane
from common.failures import Refused
from common.secret_box import SecretBox, SecretError
from common.storage.sealed_items import seal_items
from gateway.http import errors
from gateway.http.log_quota import LogQuota
from gateway.ingest.item_check import joined
from gateway.ingest.item_results import Sorted
from gateway.ingest.tallies import HOUR_SECONDS, Tallies
from gateway.metrics import INGEST_ITEMS

PREFIX = "ib_"
PURPOSE = "id of a batch"
UUID_BYTES = 16
COUNT_BYTES = 2


@dataclass(frozen=True, slots=True)
class BatchId:
    """What the id of a batch says: callers get it sealed, so nobody can make one up."""

    uuid: str
    count: int

    def sealed(self, org_id: str, box: SecretBox) -> str:
        """As callers get it."""
        plain = uuid.UUID(self.uuid).bytes + self.count.to_bytes(COUNT_BYTES)
        return PREFIX + base64.urlsafe_b64encode(box.seal_bytes(plain, org_id, PURPOSE)).decode()

    @classmethod
    def read(cls, text: str, org_id: str, box: SecretBox) -> "BatchId":
        """Raises Refused 404 for what is no id of a batch of this organisation."""
        try:
            if not text.startswith(PREFIX):
                raise ValueError
            plain = box.open_bytes(base64.urlsafe_b64decode(text.removeprefix(PREFIX)), org_id, PURPOSE)
        except (ValueError, binascii.Error, SecretError):
            raise no_such_batch() from None
        return cls(str(uuid.UUID(bytes=plain[:UUID_BYTES])), int.from_bytes(plain[UUID_BYTES:]))

    @property
    def kept(self) -> bool:
        """Whether it is still known what became of its items."""
        return moment_of(self.uuid) > time.time() - MAX_AGE_SECONDS


def no_such_batch() -> Refused:
    """404: never given to this organisation, or too long ago."""
    return errors.not_found("There is no such batch.", "batch_id", "batch_not_found")


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

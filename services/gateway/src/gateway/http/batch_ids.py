"""Ids of batches, as callers get them: sealed, so that nobody can make one up or read one of another organisation."""

import base64
import binascii
import time
import uuid
from dataclasses import dataclass

from common.events.interaction_ids import moment_of
from common.events.interaction_items import MAX_AGE_SECONDS
from common.failures import Refused
from common.secret_box import SecretBox, SecretError
from gateway.http import errors

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

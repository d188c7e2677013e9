"""Audit: who did what to what."""

from common.events.backoff import PATIENTLY
from common.events.spec import EventSpec, Payload, Topic

AUDIT = Topic("audit")


class AuditRecorded(Payload):
    """One write. Digests are SHA-256 over the canonical JSON of the state before and after; None is no state."""

    id: int
    org_id: str
    key_id: str
    user_id: str
    action: str
    target: str
    before: str | None = None
    after: str | None = None
    # The event that asked for it: a repetition leaves no second entry.
    event_id: str
    at: float


AUDIT_RECORDED = EventSpec(
    type="audit.recorded",
    version=1,
    payload=AuditRecorded,
    topic=AUDIT,
    key=lambda entry: entry.org_id,
    summary="Somebody changed something.",
    retry=PATIENTLY,
)

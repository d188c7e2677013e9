"""Interactions: what callers report is accepted as one record a batch, sealed until it is masked and stored."""

import hashlib
from typing import Literal

from common.events.backoff import PATIENTLY
from common.events.spec import EventSpec, Payload, Topic

INTERACTIONS = Topic("interactions")
# Whose the canary is. No organisation of a key may be named so.
CANARY_ORG = "~canary"


class InteractionsAccepted(Payload):
    """A batch whose items were told to be accepted, once the log has this.

    `sealed` holds them (`common.storage.sealed_items`): a JSON array of `[index in the request, item]`, each item with
    its id. `source` names a gateway process from its start on. `confirmed` is how many items of this organisation and
    hour (unix seconds // 3600) the log had acknowledged to it before this: so what the log loses shows in what comes
    after.
    """

    org_id: str
    key_id: str
    batch_id: str
    # Which of the partitions: a digest of the session, or the batch where it has several.
    lane: str
    count: int
    # Bytes of the items, unpacked.
    size: int
    accepted_at: float
    hour: int
    source: str
    confirmed: int
    # Reported as such, or as spans of OpenTelemetry.
    origin: Literal["api", "otlp"] = "api"
    sealed: str


class InteractionsTallied(Payload):
    """How many items of an organisation and hour the log has acknowledged to a gateway process; it only grows."""

    org_id: str
    source: str
    hour: int
    confirmed: int


def lane(session_id: str | None, batch_id: str) -> str:
    """Where items of a session travel: one session, one lane. It names nobody."""
    return hashlib.blake2b((session_id or batch_id).encode(errors="replace"), digest_size=8).hexdigest()


INTERACTIONS_ACCEPTED = EventSpec(
    type="interactions.accepted",
    version=1,
    payload=InteractionsAccepted,
    topic=INTERACTIONS,
    key=lambda batch: f"{batch.org_id}/{batch.lane}",
    summary="Interactions, steps or scores were accepted for storing.",
    retry=PATIENTLY,
    ordered=False,
)
INTERACTIONS_TALLIED = EventSpec(
    type="interactions.tallied",
    version=1,
    payload=InteractionsTallied,
    topic=INTERACTIONS,
    key=lambda tally: f"{tally.org_id}/{tally.source}",
    summary="How many interactions a gateway has accepted; what was stored must come to as many.",
    retry=PATIENTLY,
    ordered=False,
)

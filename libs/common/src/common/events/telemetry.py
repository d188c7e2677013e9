"""Telemetry: questions about what was stored, answered over LIVE."""

from datetime import date

from common.events.spec import EventSpec, Payload, Topic
from common.kernel.retry import NEVER

TELEMETRY_QUERIES = Topic("telemetry-queries")


class UsageRequested(Payload):
    """Tokens and turns per day, model and key of one organisation; `since` and `until` are inclusive UTC days."""

    org_id: str
    since: date
    until: date
    model: str | None = None
    key_id: str | None = None


USAGE_REQUESTED = EventSpec(
    type="telemetry.usage.requested",
    version=1,
    payload=UsageRequested,
    topic=TELEMETRY_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer how much an organisation used; the reply goes to the gateway named in reply-to.",
    retry=NEVER,
    park=False,
    ordered=False,
    expires=True,
)

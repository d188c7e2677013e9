"""Usage: how many turns and tokens an organisation used, by UTC day, model and key."""

from collections.abc import Sequence

from common.events.telemetry import UsageRequested
from common.kernel.replies import Reply, error_body
from common.kernel.verdicts import Retry
from telemetry.ports import Usage, UsageRow
from telemetry.settings import TelemetrySettings


async def answer(query: UsageRequested, usage: Usage, settings: TelemetrySettings) -> Reply:
    """200 `{"object": "list", "data": [row, ...], "has_more": bool}`, 400 for an unusable span, 503 without a store.

    `has_more` says that rows past the limit were left out: ask again from the last day on.
    """
    if problem := _span_problem(query, settings.usage_max_days):
        return Reply(error_body(problem, type="invalid_request_error", code="invalid_value", param="since"), status=400)
    try:
        rows = await usage.by_day(query, settings.usage_max_rows + 1)
    except Retry:
        # Somebody waits: a plain answer now serves better than a late one.
        body = error_body("Usage cannot be read at the moment.", type="server_error", code="database_unavailable")
        return Reply(body, status=503)
    return Reply(_listing(rows, settings.usage_max_rows))


def _span_problem(query: UsageRequested, max_days: int) -> str | None:
    days = (query.until - query.since).days + 1
    if days < 1:
        return "'since' must not be later than 'until'."
    return f"At most {max_days} days can be asked for at once, not {days}." if days > max_days else None


def _listing(rows: Sequence[UsageRow], limit: int) -> dict[str, object]:
    # Dataclasses and dates are JSON to the serialiser of replies.
    return {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit}

"""Usage: how many turns and tokens an organisation used, by UTC day, model and key."""

from common.events.reply import Reply
from common.events.telemetry import UsageList, UsageRequested
from common.failures import Refused, Unavailable
from telemetry.ports import Usage
from telemetry.settings import TelemetrySettings


async def answer(query: UsageRequested, usage: Usage, settings: TelemetrySettings) -> Reply[UsageList]:
    """200. Refuses (400) an unusable span, and (503) everything while the store is away.

    `has_more` says that rows past the limit were left out: ask again from the last day on.
    """
    if problem := _span_problem(query, settings.usage_max_days):
        raise Refused(400, problem, "invalid_value", "since")
    limit = settings.usage_max_rows
    try:
        rows = await usage.by_day(query, limit + 1)
    except Unavailable:
        # A caller waits: a refusal now is better than a late answer.
        message = "Usage cannot be read at the moment."
        raise Refused(503, message, "database_unavailable", type="server_error") from None
    return Reply(UsageList(object="list", data=tuple(rows[:limit]), has_more=len(rows) > limit))


def _span_problem(query: UsageRequested, max_days: int) -> str | None:
    days = (query.until - query.since).days + 1
    if days < 1:
        return "'since' must not be later than 'until'."
    return f"At most {max_days} days can be asked for at once, not {days}." if days > max_days else None

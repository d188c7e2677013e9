"""Usage: what an organisation spent, from telemetry."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BeforeValidator, Field

from common.events.telemetry import USAGE_REQUESTED, UsageRequested
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import bad_request
from gateway.http.fields import Query
from gateway.http.validation import read_query

DEFAULT_DAYS = 30
# Both ends included, as telemetry counts by default.
MAX_DAYS = 366


def _calendar(value: Any) -> Any:
    """Only what is written as a day: a bare number would be taken for unix seconds."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("a day is written YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_calendar)]


class UsageQuery(Query):
    """Query of `GET /v1/usage`; days are UTC and inclusive."""

    since: Day | None = None
    until: Day | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    key_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


async def get_usage(request: web.Request) -> web.Response:
    """`GET /v1/usage`: turns, tokens and cost of the caller's organisation."""
    query = read_query(request, UsageQuery)
    until = query.until or datetime.now(UTC).date()
    # The calendar has a first day.
    since = query.since or date.fromordinal(max(1, until.toordinal() - DEFAULT_DAYS))
    if not 0 <= (until - since).days < MAX_DAYS:
        raise bad_request(f"Invalid 'since': at most {MAX_DAYS} days up to 'until'.", "since", "invalid_value")
    wanted = UsageRequested(
        org_id=request[CALLER].org_id, since=since, until=until, model=query.model, key_id=query.key_id
    )
    return await request.app[DEPS].request_reply.query(USAGE_REQUESTED, wanted)

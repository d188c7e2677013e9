"""Sessions and interactions that were stored, what became of batches, and the ledger."""

import time
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from common.events.interaction_items import moment
from common.events.interaction_queries import (
    BATCH_FATE_REQUESTED,
    INTERACTION_REQUESTED,
    LEDGER_REQUESTED,
    SESSION_LIST_REQUESTED,
    SESSION_REQUESTED,
    BatchFateRequested,
    InteractionRequested,
    LedgerRequested,
    SessionListRequested,
    SessionRequested,
)
from gateway.deps import DEPS
from gateway.http.batch_ids import BatchId, no_such_batch
from gateway.http.context import CALLER
from gateway.http.errors import bad_request
from gateway.http.fields import Query
from gateway.http.validation import read_query

MAX_LIMIT = 200
DAY_SECONDS = 86_400.0
# In the year 9999 the calendar ends.
MAX_SECONDS = 253_402_300_799.0

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str, Field(min_length=1, max_length=4_000, pattern=r"^[A-Za-z0-9_=-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
Moment = Annotated[str, Field(min_length=1, max_length=40)]
Mode = Literal["prod", "dev"]


class SessionsQuery(Query):
    """Which sessions: the latest first. Times are ISO 8601 with a zone, or unix seconds."""

    mode: Mode | None = None
    user_id: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Limit = 50
    after: Cursor | None = None


class SessionQuery(Query):
    """Which turns of a session: the oldest first."""

    mode: Mode | None = None
    limit: Limit = 50
    after: Cursor | None = None


class LedgerQuery(Query):
    """Which hours; the last day where nothing is said."""

    since: Moment | None = None
    until: Moment | None = None


async def list_sessions(request: web.Request) -> web.Response:
    """`GET /v2/sessions`."""
    query = read_query(request, SessionsQuery)
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    wanted = SessionListRequested(
        org_id=org_id,
        **query.model_dump(exclude={"since", "until", "user_id"}),
        # Names may tell who somebody is: the log holds them sealed.
        user_id=None if query.user_id is None else deps.secrets.seal_name(query.user_id, org_id),
        since=_seconds(query.since, "since"),
        until=_seconds(query.until, "until"),
    )
    return await deps.request_reply.query(SESSION_LIST_REQUESTED, wanted)


async def show_session(request: web.Request) -> web.Response:
    """`GET /v2/sessions/{session_id}`."""
    query = read_query(request, SessionQuery)
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    session_id = deps.secrets.seal_name(request.match_info["session_id"], org_id)
    wanted = SessionRequested(org_id=org_id, session_id=session_id, **query.model_dump())
    return await deps.request_reply.query(SESSION_REQUESTED, wanted)


async def show_interaction(request: web.Request) -> web.Response:
    """`GET /v2/interactions/{interaction_id}`."""
    wanted = InteractionRequested(org_id=request[CALLER].org_id, id=request.match_info["interaction_id"][:64])
    return await request.app[DEPS].request_reply.query(INTERACTION_REQUESTED, wanted)


async def show_batch(request: web.Request) -> web.Response:
    """`GET /v2/ingest/{batch_id}`."""
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    batch = BatchId.read(request.match_info["batch_id"], org_id, deps.secrets)
    if not batch.kept:
        raise no_such_batch()
    wanted = BatchFateRequested(org_id=org_id, batch_id=batch.uuid, count=batch.count)
    return await deps.request_reply.query(BATCH_FATE_REQUESTED, wanted)


async def show_ledger(request: web.Request) -> web.Response:
    """`GET /v2/ledger`."""
    query = read_query(request, LedgerQuery)
    until = _seconds(query.until, "until")
    until = time.time() if until is None else until
    since = _seconds(query.since, "since")
    wanted = LedgerRequested(
        org_id=request[CALLER].org_id, since=until - DAY_SECONDS if since is None else since, until=until
    )
    return await request.app[DEPS].request_reply.query(LEDGER_REQUESTED, wanted)


def _seconds(text: str | None, param: str) -> float | None:
    """Unix seconds of a moment in a query; raises Refused 400."""
    if text is None:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else float(moment(text))
    except (ValueError, OverflowError):
        raise bad_request(
            f"Invalid '{param}': ISO 8601 with a zone, or unix seconds.", param, "invalid_value"
        ) from None
    if not 0 <= seconds <= MAX_SECONDS:
        raise bad_request(f"Invalid '{param}': there is nothing of that time.", param, "invalid_value")
    return seconds

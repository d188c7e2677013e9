"""The audit trail: who did what to what."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.resources import AUDIT_LIST_REQUESTED, AuditListRequested
from gateway.deps import DEPS
from gateway.http.fields import Query
from gateway.http.validation import read_query
from gateway.resources.request_context import requested_by

MAX_ENTRY = 2**63 - 1  # what the database column holds


class AuditQuery(Query):
    """Which entries: newest first, behind the entry `before`; `target` is one thing, written as in an entry."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Annotated[int, Field(ge=1, le=MAX_ENTRY)] | None = None
    target: Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None


async def list_audit(request: web.Request) -> web.Response:
    """`GET /v1/audit`: what was done in the caller's organisation, by whichever user."""
    query = read_query(request, AuditQuery)
    wanted = AuditListRequested(**requested_by(request, ""), **query.model_dump())
    return await request.app[DEPS].request_reply.query(AUDIT_LIST_REQUESTED, wanted)

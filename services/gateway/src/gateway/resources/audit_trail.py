"""The audit trail: who did what to what."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from common.events.resources import AUDIT_LIST_REQUESTED, AuditListRequested
from gateway.http.fields import Query
from gateway.http.middleware import read_query
from gateway.http.request_reply import question
from gateway.http.routing import Route
from gateway.ports import Scope
from gateway.resources.request import asked_by

LARGEST_ENTRY = 2**63 - 1  # what the database column holds


class AuditQuery(Query):
    """Which entries: newest first, behind the entry `before`; `target` is one thing, written as in an entry."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    before: Annotated[int, Field(ge=1, le=LARGEST_ENTRY)] | None = None
    target: Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None


class AuditEntry(BaseModel):
    """One write. Digests are SHA-256 of the state before and after; null is no state. `at` is unix seconds."""

    id: int
    key_id: str
    user_id: str
    action: str
    target: str
    before: str | None
    after: str | None
    event_id: str
    at: float


class AuditList(BaseModel):
    """A page of entries, newest first."""

    data: list[AuditEntry]
    has_more: bool


async def list_audit(request: web.Request) -> web.Response:
    """`GET /v1/audit`: what was done in the caller's organisation, by whichever user."""
    query = read_query(request, AuditQuery)
    wanted = AuditListRequested(**asked_by(request, ""), **query.model_dump())
    return await question(request, AUDIT_LIST_REQUESTED, wanted)


ROUTES = [
    Route(
        "GET",
        "/v1/audit",
        list_audit,
        "List what was done, newest first",
        scope=Scope.RESOURCES,
        query=AuditQuery,
        response=AuditList,
        errors=(503, 504),
        tags=("audit",),
    )
]

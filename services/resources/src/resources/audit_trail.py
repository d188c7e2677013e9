"""The audit trail: what was done, read back."""

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import AuditList
from common.events.resources import AuditListRequested
from resources.deps import Deps

MAX_ENTRIES = 500


async def list_entries(event: Event[AuditListRequested], deps: Deps) -> Reply[AuditList]:
    """200 with entries, newest first."""
    query = event.payload
    limit = max(1, min(query.limit, MAX_ENTRIES))
    found = await deps.store.of(query.org_id).audit.page(limit=limit + 1, before=query.before, target=query.target)
    return Reply(AuditList(object="list", data=tuple(found[:limit]), has_more=len(found) > limit))

"""The audit trail: what was done, read back."""

from collections.abc import Set as AbstractSet

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import AuditListRequested
from common.storage.postgres import transient
from resources.deps import Deps
from resources.store import Reader

MOST_ENTRIES = 500


async def list_entries(event: Event[AuditListRequested], deps: Deps) -> Reply:
    """200 `{"object": "list", "data": [entry, ...], "has_more": bool}`, newest first."""
    asked = event.payload
    limit = max(1, min(asked.limit, MOST_ENTRIES))
    async with transient():
        rows = await deps.pool.fetch(
            "SELECT id, key_id, user_id, action, target, before, after, event_id, extract(epoch FROM at)::float8 AS at"
            " FROM resources.audit WHERE org_id = $1 AND ($2::bigint IS NULL OR id < $2)"
            " AND ($3::text IS NULL OR target = $3) ORDER BY id DESC LIMIT $4",
            asked.org_id,
            asked.before,
            asked.target,
            limit + 1,
        )
    return Reply({"object": "list", "data": [dict(row) for row in rows[:limit]], "has_more": len(rows) > limit})


async def newest(reader: Reader, org_id: str) -> int:
    """The number of an organisation's last entry, 0 without one."""
    found: int = await reader.fetchval("SELECT coalesce(max(id), 0) FROM resources.audit WHERE org_id = $1", org_id)
    return found


async def deleted(reader: Reader, org_id: str, since: int) -> AbstractSet[str]:
    """The targets of what was deleted after entry `since`."""
    rows = await reader.fetch(
        "SELECT target FROM resources.audit WHERE org_id = $1 AND id > $2 AND action LIKE '%.deleted'", org_id, since
    )
    return {row["target"] for row in rows}

"""The audit trail, read back."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from common.events.resource_replies import AuditEntry
from resources.adapters.postgres.rows import Rows


class PostgresAudit:
    """The port `AuditTable`; the unit of work writes it."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def page(self, *, limit: int, before: int | None, target: str | None) -> Sequence[AuditEntry]:
        rows = await self._rows.fetch(
            "SELECT id, key_id, user_id, action, target, before, after, event_id, extract(epoch FROM at)::float8 AS at"
            " FROM resources.audit WHERE org_id = $1 AND ($2::bigint IS NULL OR id < $2)"
            " AND ($3::text IS NULL OR target = $3) ORDER BY id DESC LIMIT $4",
            before,
            target,
            limit,
        )
        return [AuditEntry(**dict(row)) for row in rows]

    async def newest(self) -> int:
        found: int = await self._rows.value("SELECT coalesce(max(id), 0) FROM resources.audit WHERE org_id = $1")
        return found

    async def deleted(self, since: int) -> AbstractSet[str]:
        rows = await self._rows.fetch(
            "SELECT target FROM resources.audit WHERE org_id = $1 AND id > $2 AND action LIKE '%.deleted'", since
        )
        return {row["target"] for row in rows}

    async def was_promoted(self, tool_id: str) -> bool:
        found: bool = await self._rows.value(
            "SELECT EXISTS (SELECT FROM resources.audit WHERE org_id = $1 AND action = 'tool.promoted'"
            " AND starts_with(target, $2))",
            f"tool:{tool_id}:",
        )
        return found

"""Deleting a user: noted first, then done bit by bit, and once more when nothing of before can come any more."""

from datetime import UTC, datetime

import structlog

from common.events.interaction_queries import UserDeletion, UserDeletionGet, UserDeletionRequested
from common.events.reply import Reply
from common.failures import Refused, Unavailable
from telemetry.interactions.session_reading import away
from telemetry.interactions.terms import TermsOf
from telemetry.ports import Deletion, Retention

log = structlog.get_logger(__name__)

# Interactions of the user may have been accepted, and not stored, when their deletion was asked for.
LAST_PASS_SECONDS = 120.0


async def request(asked: UserDeletionRequested, retention: Retention) -> Reply[UserDeletion]:
    """202: it is noted, and begins in a moment. Refuses 503 while the store is away."""
    try:
        deletion = await retention.note_deletion(asked.deletion_id, asked.org_id, asked.user_id, asked.key_id)
    except Unavailable:
        raise away() from None
    return Reply(shown(deletion), 202)


async def show(query: UserDeletionGet, retention: Retention) -> Reply[UserDeletion]:
    """200. Refuses 404 and 503."""
    try:
        deletion = await retention.deletion(query.org_id, query.deletion_id)
    except Unavailable:
        raise away() from None
    if deletion is None:
        raise Refused(404, "There is no such deletion.", "deletion_not_found", "deletion_id")
    return Reply(shown(deletion))


def shown(deletion: Deletion) -> UserDeletion:
    """As callers see it: whose it is they know."""
    return UserDeletion(
        id=deletion.id,
        state="queued" if deletion.done_at is None else "done",
        rows=deletion.rows,
        requested_at=deletion.requested_at.timestamp(),
        done_at=None if deletion.done_at is None else deletion.done_at.timestamp(),
    )


async def carry_out(retention: Retention, terms: TermsOf) -> None:
    """Delete what is there of every user whose deletion is not done; raises `Unavailable` while the store is away."""
    for deletion in await retention.open_deletions():
        try:
            names = await terms.as_stored(deletion.user_id, deletion.org_id)
        except ValueError as error:
            # Until the key is back that sealed the name.
            log.error("user cannot be deleted", deletion=deletion.id, reason=str(error))
            continue
        rows = await retention.delete_user(deletion.org_id, sorted(names))
        waited = (datetime.now(UTC) - deletion.requested_at).total_seconds()
        await retention.note_pass(deletion.id, rows, done=rows == 0 and waited >= LAST_PASS_SECONDS)

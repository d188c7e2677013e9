"""What users said and was deleted: a turn that is still on its way then is not taken in any more."""

from common.events.documents import MEMORY, SAID_AT, SESSION, TURN, DocumentInput
from common.failures import Refused
from common.storage.postgres import Connection

# One who forgets waits for those who take in, and they for him: none of them can miss the other.
FORGETTING = "SELECT pg_advisory_xact_lock(hashtext('forgotten words'), hashtext($1))"
TAKING_IN = "SELECT pg_advisory_xact_lock_shared(hashtext('forgotten words'), hashtext($1))"
NOTE = """
INSERT INTO media.forgotten_words AS old (org_id, whose, said_until) VALUES ($1, $2, to_timestamp($3))
ON CONFLICT (org_id, whose) DO UPDATE SET said_until = greatest(old.said_until, excluded.said_until)
"""
# The job of a turn is given up after a day, and the log keeps its request for a week.
TIDY = "DELETE FROM media.forgotten_words WHERE said_until < now() - interval '30 days'"
IS_FORGOTTEN = """
SELECT EXISTS (SELECT FROM media.forgotten_words
               WHERE org_id = $1 AND whose = ANY($2::text[]) AND said_until >= to_timestamp($3))
"""


def owner_of(*, user_id: str | None = None, session_id: str | None = None, turn_id: str | None = None) -> str:
    """Whose words, as the table names them."""
    named = {"user": user_id, SESSION: session_id, TURN: turn_id}
    return next(f"{kind} {id}" for kind, id in named.items() if id is not None)


async def note_forgotten(connection: Connection, org_id: str, whose: str, at: float) -> None:
    """Within the transaction that deletes: what was said until `at` (unix seconds) is not to come back."""
    await connection.execute(FORGETTING, org_id)
    await connection.execute(NOTE, org_id, whose, at)
    await connection.execute(TIDY)


async def refuse_forgotten(connection: Connection, org_id: str, wanted: DocumentInput) -> None:
    """Within the transaction that takes in: raises Refused (409) for words that were deleted meanwhile."""
    said_at = wanted.metadata.get(SAID_AT)
    if wanted.collection != MEMORY or not isinstance(said_at, (int, float)):
        return
    session, turn = wanted.metadata.get(SESSION), wanted.metadata.get(TURN)
    whose = [owner_of(user_id=wanted.user_id), owner_of(session_id=str(session)), owner_of(turn_id=str(turn))]
    await connection.execute(TAKING_IN, org_id)
    if await connection.fetchval(IS_FORGOTTEN, org_id, whose, said_at):
        raise Refused(409, "What was said here has been deleted meanwhile.", "forgotten")

"""Files that were taken out of a vector store: what was asked for until then does not put them in any more."""

from common.events.documents import DOCUMENT_KIND
from common.failures import Refused
from common.storage.postgres import Connection
from media.retrieval_ports import Version

# As the indexes of jobs have it.
DOCUMENT = "left(j.input ->> 'document_id', 100)"
# Of a job `j`: whether its file was taken out since it was asked for.
STRUCK = f"""
EXISTS (SELECT FROM media.struck_files AS s
        WHERE s.org_id = j.org_id AND s.document_id = {DOCUMENT} AND s.asked_until >= j.created_at)
"""
NOTE = f"""
INSERT INTO media.struck_files AS old (org_id, document_id, asked_until)
SELECT $1, $2, max(created_at) FROM media.jobs AS j
WHERE org_id = $1 AND kind = '{DOCUMENT_KIND}' AND {DOCUMENT} = $2 HAVING count(*) > 0
ON CONFLICT (org_id, document_id) DO UPDATE SET asked_until = greatest(old.asked_until, excluded.asked_until)
"""  # noqa: S608
# Jobs are deleted some days after their end.
TIDY = f"""
DELETE FROM media.struck_files AS s WHERE org_id = $1 AND NOT EXISTS (
    SELECT FROM media.jobs AS j WHERE j.org_id = $1 AND kind = '{DOCUMENT_KIND}' AND {DOCUMENT} = s.document_id)
"""  # noqa: S608
IS_STRUCK = """
SELECT EXISTS (SELECT FROM media.struck_files WHERE org_id = $1 AND document_id = $2 AND asked_until >= $3)
"""


async def note_struck(connection: Connection, org_id: str, document_id: str) -> None:
    """Within the transaction that takes a file out, and holds its store."""
    await connection.execute(TIDY, org_id)
    await connection.execute(NOTE, org_id, document_id)


async def refuse_struck(connection: Connection, version: Version) -> None:
    """Within the transaction that takes in, and holds the store: raises Refused (409) for a file that was taken out."""
    if await connection.fetchval(IS_STRUCK, version.org_id, version.wanted.document_id, version.asked_at):
        raise Refused(409, "The file was taken out of the vector store meanwhile.", "file_taken_out")

"""PostgreSQL: documents, and the chunks that are searched of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from common.events.documents import MEMORY, SESSION, TURN, DocumentInput
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.vector_stores import STORE_ID
from common.storage.postgres import Connection, Pool, transient
from media.adapters.forgotten_words import note_forgotten, owner_of, refuse_forgotten
from media.adapters.struck_files import refuse_struck
from media.retrieval_ports import Document, DocumentPage, Version, no_store

ID_OF_STORE = re.compile(STORE_ID)
COLUMNS = ", ".join(field.name for field in fields(Document))
# With an index for vectors some two milliseconds each.
ROWS_AT_ONCE = 200

# Whoever has the row goes first; the id of a document is made of all that stands in this statement before its content.
LOCK = f"SELECT {COLUMNS}, job_id, asked_at FROM media.documents WHERE org_id = $1 AND id = $2 FOR UPDATE"  # noqa: S608
# As old as the job that made it: in a list of files it stays where the job was.
PUT = f"""
INSERT INTO media.documents AS old (id, org_id, project_id, collection, user_id, name, content_type, asset_id, url,
    version, chunks, characters, sha256, metadata, job_id, asked_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11, $12, $13::jsonb, $14, $15, $15)
ON CONFLICT (id) DO UPDATE SET content_type = excluded.content_type, asset_id = excluded.asset_id, url = excluded.url,
    version = old.version + 1, chunks = excluded.chunks, characters = excluded.characters, sha256 = excluded.sha256,
    metadata = excluded.metadata, job_id = excluded.job_id, asked_at = excluded.asked_at, updated_at = now()
WHERE old.org_id = excluded.org_id AND old.asked_at < excluded.asked_at
RETURNING {COLUMNS}
"""  # noqa: S608
ADD_CHUNKS = """
INSERT INTO media.chunks (document_id, org_id, project_id, collection, user_id, version, ordinal, heading, page, text,
    start_at, end_at, terms, weights)
SELECT $1, $2, $3, $4, $5, $6, given.ordinal, given.heading, given.page, given.text, given.start_at, given.end_at,
    given.terms::integer[], given.weights::sparsevec
FROM unnest($7::integer[], $8::text[], $9::integer[], $10::text[], $11::integer[], $12::integer[], $13::text[],
    $14::text[]) AS given (ordinal, heading, page, text, start_at, end_at, terms, weights)
ORDER BY given.ordinal RETURNING id, ordinal
"""
ADD_VECTORS = """
INSERT INTO media.chunk_vectors (model, chunk_id, document_id, org_id, project_id, collection, user_id, embedding)
SELECT $1, given.id, $2, $3, $4, $5, $6, given.embedding::halfvec
FROM unnest($7::bigint[], $8::text[]) AS given (id, embedding)
"""
COUNT = """
INSERT INTO media.project_chunks AS old (org_id, project_id, chunks) VALUES ($1, $2, greatest(0, $3))
ON CONFLICT (org_id, project_id) DO UPDATE SET chunks = greatest(0, old.chunks + $3)
"""
USE_COLLECTION = """
INSERT INTO media.collections (org_id, project_id, id, name) VALUES ($1, $2, $3, $3)
ON CONFLICT (org_id, project_id, id) DO UPDATE SET used_at = now() RETURNING id
"""
# A vector store is made by its owner alone: a document does not bring back one that was deleted.
USE_STORE = """
UPDATE media.collections SET used_at = now() WHERE org_id = $1 AND project_id = $2 AND id = $3 RETURNING id
"""
# The counts are made anew where the project has grown or shrunk by a fifth; until then rarities are a little old.
DUE = """
SELECT chunks FROM media.project_chunks
WHERE org_id = $1 AND project_id = $2 AND abs(chunks - counted) > 0.2 * counted FOR UPDATE SKIP LOCKED
"""
FORGET_COUNTS = "DELETE FROM media.term_counts WHERE org_id = $1 AND project_id = $2"
COUNT_TERMS = """
INSERT INTO media.term_counts (org_id, project_id, term, chunks)
SELECT $1, $2, term, count(*) FROM media.chunks, unnest(terms) AS term
WHERE org_id = $1 AND project_id = $2 GROUP BY term
"""
COUNTED = "UPDATE media.project_chunks SET counted = $3 WHERE org_id = $1 AND project_id = $2"
COUNT_SECONDS = 300.0
# For what a document of many chunks writes or takes away at once.
WRITE_SECONDS = 120.0
PAGE = f"""
SELECT {COLUMNS} FROM media.documents
WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND ($4::text IS NULL OR collection = $4)
    AND ($5::text IS NULL OR (created_at, id) < (SELECT created_at, id FROM media.documents
                                                 WHERE org_id = $1 AND id = $5))
ORDER BY created_at DESC, id DESC LIMIT $6
"""  # noqa: S608
EDIT = f"""
UPDATE media.documents SET metadata = $3::jsonb, updated_at = now() WHERE org_id = $1 AND id = $2
RETURNING {COLUMNS}
"""  # noqa: S608
REMOVE = "DELETE FROM media.documents WHERE org_id = $1 AND id = $2 RETURNING project_id, chunks"
FORGET = "DELETE FROM media.documents WHERE org_id = $1 AND user_id = $2 RETURNING project_id, chunks"
FORGET_SAID = f"""
DELETE FROM media.documents WHERE org_id = $1 AND collection = '{MEMORY}' AND metadata ->> '{SESSION}' = $2
    AND ($3::text IS NULL OR metadata ->> '{TURN}' = $3)
RETURNING project_id, chunks
"""  # noqa: S608


class PostgresDocuments:
    """The port `DocumentRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def replace(self, version: Version) -> Document:
        async with transient(), self._pool.acquire() as connection:
            async with connection.transaction():
                document = await _replaced(connection, version)
            await _count_terms(connection, version.org_id, version.wanted.project_id)
        return document

    async def touch(self, document: Document, wanted: DocumentInput) -> Document:
        if dict(document.metadata) == dict(wanted.metadata):
            return document
        return await self.edit(document.org_id, document.id, wanted.metadata) or document

    async def get(self, org_id: str, document_id: str) -> Document | None:
        query = f"SELECT {COLUMNS} FROM media.documents WHERE org_id = $1 AND id = $2"  # noqa: S608
        async with transient():
            return _document(await self._pool.fetchrow(query, org_id, document_id))

    async def page(self, wanted: DocumentPage) -> Sequence[Document]:
        given = (wanted.org_id, wanted.project_id, wanted.user_id, wanted.collection, wanted.after, wanted.limit)
        async with transient():
            return [document for row in await self._pool.fetch(PAGE, *given) if (document := _document(row))]

    async def edit(self, org_id: str, document_id: str, metadata: Mapping[str, Any]) -> Document | None:
        async with transient():
            return _document(await self._pool.fetchrow(EDIT, org_id, document_id, json.dumps(dict(metadata))))

    async def remove(self, org_id: str, document_id: str) -> bool:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            return await removed(connection, org_id, document_id)

    async def forget(self, org_id: str, user_id: str, at: float) -> int:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await note_forgotten(connection, org_id, owner_of(user_id=user_id), at)
            return await _removed(connection, FORGET, org_id, user_id)

    async def forget_said(self, org_id: str, session_id: str, turn_id: str | None, at: float) -> int:
        whose = owner_of(session_id=session_id) if turn_id is None else owner_of(turn_id=turn_id)
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await note_forgotten(connection, org_id, whose, at)
            return await _removed(connection, FORGET_SAID, org_id, session_id, turn_id)


async def removed(connection: Connection, org_id: str, document_id: str) -> bool:
    """Within a transaction: take a document away, and say whether it was there."""
    return await _removed(connection, REMOVE, org_id, document_id) > 0


async def _removed(connection: Connection, statement: str, org_id: str, *of: str | None) -> int:
    gone = await connection.fetch(statement, org_id, *of, timeout=WRITE_SECONDS)
    # In one order, so that two of them never wait for each other.
    for row in sorted(gone, key=lambda row: str(row["project_id"])):
        await connection.execute(COUNT, org_id, row["project_id"], -row["chunks"])
    return len(gone)


async def _replaced(connection: Connection, version: Version) -> Document:
    wanted = version.wanted
    await refuse_forgotten(connection, version.org_id, wanted)
    await _use_collection(connection, version.org_id, wanted)
    await refuse_struck(connection, version)
    old = await connection.fetchrow(LOCK, version.org_id, wanted.document_id)
    row = await connection.fetchrow(PUT, *_values(version))
    if row is None:
        # Somebody asked for another version later than this one was asked for, or this is the same job once more.
        document = await connection.fetchrow(LOCK, version.org_id, wanted.document_id)
        return _known(document)
    document = _known(row)
    await connection.execute("DELETE FROM media.chunks WHERE document_id = $1", document.id, timeout=WRITE_SECONDS)
    for at in range(0, len(version.chunks), ROWS_AT_ONCE):
        await _add_chunks(connection, document, version, at)
    more = len(version.chunks) - (0 if old is None else old["chunks"])
    await connection.execute(COUNT, version.org_id, wanted.project_id, more)
    return document


async def _use_collection(connection: Connection, org_id: str, wanted: DocumentInput) -> None:
    """Hold the collection, so that nobody deletes it meanwhile; raises Refused 404 for a store that is gone."""
    store = wanted.project_id == DEFAULT_PROJECT and ID_OF_STORE.fullmatch(wanted.collection)
    statement = USE_STORE if store else USE_COLLECTION
    if await connection.fetchval(statement, org_id, wanted.project_id, wanted.collection) is None:
        raise no_store(wanted.collection)


def _values(version: Version) -> tuple[Any, ...]:
    wanted = version.wanted
    where = (wanted.document_id, version.org_id, wanted.project_id, wanted.collection, wanted.user_id, wanted.name)
    what = (version.content_type, wanted.asset_id, wanted.url, len(version.chunks), version.characters, version.sha256)
    return (*where, *what, json.dumps(dict(wanted.metadata)), version.job_id, version.asked_at)


async def _add_chunks(connection: Connection, document: Document, version: Version, at: int) -> None:
    prepared = version.chunks[at : at + ROWS_AT_ONCE]
    chunks = [each.chunk for each in prepared]
    where = (document.id, document.org_id, document.project_id, document.collection, document.user_id)
    rows = await connection.fetch(
        ADD_CHUNKS,
        *where,
        document.version,
        list(range(at, at + len(chunks))),
        [chunk.heading for chunk in chunks],
        [chunk.page for chunk in chunks],
        [chunk.text for chunk in chunks],
        [chunk.start for chunk in chunks],
        [chunk.end for chunk in chunks],
        [each.terms for each in prepared],
        [each.weights for each in prepared],
        timeout=WRITE_SECONDS,
    )
    ids = {row["ordinal"]: row["id"] for row in rows}
    for model, vectors in version.vectors.items():
        of = [ids[at + place] for place in range(len(chunks))]
        some = vectors[at : at + ROWS_AT_ONCE]
        await connection.execute(ADD_VECTORS, model, *where, of, some, timeout=WRITE_SECONDS)


async def _count_terms(connection: Connection, org_id: str, project_id: str) -> None:
    """Count the terms of a project, where it is another one than when they were last counted."""
    async with connection.transaction():
        chunks = await connection.fetchval(DUE, org_id, project_id)
        if chunks is None:
            return
        await connection.execute(FORGET_COUNTS, org_id, project_id)
        await connection.execute(COUNT_TERMS, org_id, project_id, timeout=COUNT_SECONDS)
        await connection.execute(COUNTED, org_id, project_id, chunks)


def _document(row: Any) -> Document | None:
    return None if row is None else _known(row)


def _known(row: Any) -> Document:
    given = {field.name: row[field.name] for field in fields(Document)}
    return Document(**{**given, "metadata": json.loads(given["metadata"])})

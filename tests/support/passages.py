"""Documents and search on a real database, without the rest of the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from common.events.documents import DocumentInput, document_id
from common.events.search import SearchRequested, SearchResults
from common.jobs.open_jobs import JOBS_MIGRATIONS
from common.storage.postgres import Pool, open_postgres
from media.adapters.encoder_workers import LocalEncoder, LocalReranker, open_asked, open_taken_in
from media.adapters.postgres_documents import PostgresDocuments
from media.adapters.postgres_passages import PostgresPassages
from media.app import MIGRATIONS
from media.retrieval.encoders import MODELS
from media.retrieval.preparation import Preparation, Prepared, TextBounds, prepare
from media.retrieval_ports import Document, Version
from media.search.passage_search import PassageSearch

MODEL = "all-minilm-l6-v2"
BOUNDS = TextBounds(pages=100, characters=1_000_000, chunks=5000)
DIMENSIONS = {name: model.dimensions for name, model in MODELS.items()}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def wanted(org_id: str, name: str, **given: Any) -> DocumentInput:
    """The input of a document, in the project `default` where nothing else is said."""
    own = {"project_id": "default", "collection": "default", "user_id": "", "text": name, **given}
    id = document_id(org_id, own["project_id"], own["collection"], own["user_id"], name)
    return DocumentInput(document_id=id, name=name, **own)


@dataclass
class Library:
    """Takes documents in and searches them, as the service does."""

    folder: Path
    models: Path
    pool: Pool
    rows: PostgresDocuments
    search_in: PassageSearch
    encoder: LocalEncoder
    numbers: "count[int]"

    def prepared(self, org_id: str, document: DocumentInput) -> Prepared:
        path = self.folder / "document"
        path.write_text(document.text or "")
        scope = f"{org_id}/{document.project_id}"
        return prepare(Preparation(path, document.content_type, scope, self.models, MODEL, BOUNDS))

    async def version(self, org_id: str, document: DocumentInput, number: int | None = None) -> Version:
        """A version of it, asked for at the moment of that number; the next one where none is given."""
        at = next(self.numbers) if number is None else number
        prepared = self.prepared(org_id, document)
        texts = [each.chunk.searched for each in prepared.chunks]
        return Version(
            org_id=org_id,
            wanted=document,
            content_type=prepared.content_type,
            sha256=f"{hash(document.text):x}",
            characters=prepared.characters,
            job_id=f"job-{at}",
            asked_at=EPOCH + timedelta(seconds=at),
            chunks=prepared.chunks,
            vectors={MODEL: await self.encoder.embed("test", texts)},
        )

    async def add(self, org_id: str, name: str, text: str, **given: Any) -> Document:
        return await self.rows.replace(await self.version(org_id, wanted(org_id, name, text=text, **given)))

    async def search(self, org_id: str, query: str, **given: Any) -> SearchResults:
        return await self.search_in.search(SearchRequested(org_id=org_id, query=query, **given))

    async def texts(self, org_id: str, query: str, **given: Any) -> list[str]:
        return [passage.text for passage in (await self.search(org_id, query, **given)).data]


@asynccontextmanager
async def library_on(database_url: str, models: Path, folder: Path) -> AsyncIterator[Library]:
    shared = [JOBS_MIGRATIONS]
    async with (
        open_postgres(
            database_url, size=6, migrations=MIGRATIONS, schema="media", unit_of_work=True, shared=shared
        ) as pool,
        open_asked() as asked,
        open_taken_in(1) as taken_in,
    ):
        encoder = LocalEncoder(models, MODEL, asked, taken_in)
        reranker = LocalReranker(models, "minilm-l4-reranker", asked)
        search = PassageSearch(PostgresPassages(pool, DIMENSIONS), {MODEL: encoder}, MODEL, reranker)
        yield Library(folder, models, pool, PostgresDocuments(pool), search, encoder, count(1))

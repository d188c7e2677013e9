"""Everything about documents and search, put together as the settings say."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from common.kernel.service import Kernel
from common.kernel.tasks import end
from common.providers.guarded_http import GuardedHttp
from common.providers.provider_registry import ProviderRegistry
from common.storage.postgres import Pool
from media.adapters.encoder_workers import LocalEncoder, LocalReranker, open_asked, open_taken_in
from media.adapters.expression_lab import GuardedDownloads
from media.adapters.postgres_documents import PostgresDocuments
from media.adapters.postgres_file_batches import PostgresFileBatches
from media.adapters.postgres_passages import PostgresPassages
from media.adapters.postgres_stores import PostgresStores
from media.adapters.upstream_encoder import open_upstream_encoder
from media.adapters.upstream_reranker import open_upstream_reranker
from media.adapters.vector_index import VectorIndex
from media.documents.document_desk import DocumentDesk
from media.retrieval.encoders import MODELS
from media.retrieval.preparation import TextBounds
from media.retrieval_ports import Encoder, Reranker
from media.search.passage_search import PassageSearch
from media.settings import MediaSettings


@asynccontextmanager
async def open_documents(
    settings: MediaSettings, kernel: Kernel, pool: Pool, public: GuardedHttp, registry: ProviderRegistry
) -> AsyncIterator[DocumentDesk]:
    """Documents and search, with the vectors kept those of the model that is wanted."""
    folder = settings.models_dir or settings.data_dir / "models"
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(open_asked())
        taken_in = await stack.enter_async_context(open_taken_in(settings.embedding_processes))
        encoders: dict[str, Encoder] = {name: LocalEncoder(folder, name, asked, taken_in) for name in MODELS}
        dimensions = {name: model.dimensions for name, model in MODELS.items()}
        wanted = settings.embedding_model
        if settings.embedding_url is not None:
            encoders[wanted] = await stack.enter_async_context(open_upstream_encoder(settings, registry))
            dimensions[wanted] = settings.embedding_dimensions
        reranker: Reranker | None = None
        if settings.rerank_url is not None:
            reranker = await stack.enter_async_context(open_upstream_reranker(settings, registry))
        elif settings.rerank_model:
            reranker = LocalReranker(folder, settings.rerank_model, asked)
        rows = PostgresPassages(pool, dimensions)
        index = VectorIndex(pool, encoders, dimensions, wanted)
        stack.push_async_callback(end, kernel.tasks.spawn(index.run(), "keep-vectors"))
        yield DocumentDesk(
            rows=PostgresDocuments(pool),
            stores=PostgresStores(pool),
            batches=PostgresFileBatches(pool),
            search=PassageSearch(rows, encoders, wanted, reranker),
            encoders=index.models,
            downloads=GuardedDownloads(public, settings.max_document_bytes),
            models=folder,
            tokenizer=wanted if wanted in MODELS else None,
            bounds=TextBounds(settings.document_pages, settings.document_characters, settings.document_chunks),
        )

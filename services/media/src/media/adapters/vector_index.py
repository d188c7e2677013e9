"""The index of the vectors of each model, and a change of the model: remade in the background, switched at once."""

import asyncio
import re
from collections.abc import Mapping

import structlog

from common.failures import ProviderDown, Refused, StoreUnavailableError
from common.storage.postgres import Pool, transient
from media.metrics import INDEX_CHUNKS
from media.retrieval_ports import Encoder

log = structlog.get_logger(__name__)

CHUNKS_AT_ONCE = 64
LOOK_SECONDS = 30.0
BUILD_SECONDS = 3600.0
# HNSW as pgvector has it by default; ADR 0042 says what it finds.
INDEX = """
CREATE INDEX IF NOT EXISTS {name} ON media.chunk_vectors
USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops) WHERE model = '{model}'
"""
WITHOUT = """
SELECT c.id, c.heading, c.text FROM media.chunks AS c
WHERE c.id > $2 AND NOT EXISTS (SELECT FROM media.chunk_vectors AS v WHERE v.chunk_id = c.id AND v.model = $1)
ORDER BY c.id LIMIT $3
"""
# Of a chunk that is gone by now nothing is kept.
ADD = """
INSERT INTO media.chunk_vectors (model, chunk_id, document_id, org_id, project_id, collection, user_id, embedding)
SELECT $1, c.id, c.document_id, c.org_id, c.project_id, c.collection, c.user_id, given.embedding::halfvec
FROM unnest($2::bigint[], $3::text[]) AS given (id, embedding) JOIN media.chunks AS c ON c.id = given.id
FOR KEY SHARE OF c
ON CONFLICT (chunk_id, model) DO NOTHING
"""
ACTIVE = "SELECT model FROM media.vector_model"
# While it holds, nobody adds a chunk: none is left out of the switch.
STILL = "LOCK TABLE media.chunks IN SHARE MODE"
SWITCH = """
UPDATE media.vector_model SET model = $1
WHERE NOT EXISTS (SELECT FROM media.chunks AS c WHERE NOT EXISTS (
    SELECT FROM media.chunk_vectors AS v WHERE v.chunk_id = c.id AND v.model = $1))
RETURNING model
"""


def index_name(model: str) -> str:
    """What the index of a model is called."""
    return "chunk_vectors_" + re.sub(r"[^a-z0-9]+", "_", model.lower())


class VectorIndex:
    """Keeps the vectors those of the model that is wanted."""

    def __init__(self, pool: Pool, encoders: Mapping[str, Encoder], dimensions: Mapping[str, int], wanted: str) -> None:
        self._pool = pool
        self._encoders = encoders
        self._dimensions = dimensions
        self._wanted = wanted

    async def models(self) -> list[Encoder]:
        """Those whose vectors a new chunk needs: the one that is searched, and the one that is wanted."""
        async with transient():
            active = await self._pool.fetchval(ACTIVE)
        # One that is configured no more makes no vectors: what is new is found once the switch is done.
        names = dict.fromkeys(name for name in (active, self._wanted) if name in self._encoders)
        return [self._encoders[name] for name in names]

    async def run(self) -> None:
        """Until cancelled: make what is missing, and count what there is."""
        while True:
            try:
                await self.renew()
                await self._count()
            except (StoreUnavailableError, ProviderDown) as error:
                log.info("vectors wait", why=str(error))
            except Refused as refused:
                log.warning("vectors of the model cannot be made", model=self._wanted, why=refused.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def _build(self, model: str) -> None:
        statement = INDEX.format(name=index_name(model), size=self._dimensions[model], model=model)
        async with transient():
            await self._pool.execute(statement, timeout=BUILD_SECONDS)

    async def renew(self) -> None:
        """An index for the wanted model; where another one is searched, vectors for all chunks and then the switch."""
        await self._build(self._wanted)
        async with transient():
            active = await self._pool.fetchval(ACTIVE)
        if active in (None, self._wanted):
            return
        log.info("vectors are remade", before=active, model=self._wanted)
        while not await self._switched():
            await self._fill()
        log.info("vectors are switched", model=self._wanted)
        async with transient():
            await self._pool.execute(
                "DELETE FROM media.chunk_vectors WHERE model <> $1", self._wanted, timeout=BUILD_SECONDS
            )
            await self._pool.execute(f"DROP INDEX IF EXISTS media.{index_name(active)}", timeout=BUILD_SECONDS)

    async def _fill(self) -> None:
        after, encoder = 0, self._encoders[self._wanted]
        while True:
            async with transient():
                rows = await self._pool.fetch(WITHOUT, self._wanted, after, CHUNKS_AT_ONCE)
            if not rows:
                return
            after = rows[-1]["id"]
            texts = [f"{row['heading']}\n{row['text']}" if row["heading"] else row["text"] for row in rows]
            vectors = await encoder.embed("renewal", texts)
            async with transient():
                await self._pool.execute(ADD, self._wanted, [row["id"] for row in rows], vectors)

    async def _switched(self) -> bool:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(STILL)
            return await connection.fetchval(SWITCH, self._wanted, timeout=BUILD_SECONDS) is not None

    async def _count(self) -> None:
        async with transient():
            rows = await self._pool.fetch("SELECT model, count(*) AS chunks FROM media.chunk_vectors GROUP BY model")
        INDEX_CHUNKS.clear()
        for row in rows:
            INDEX_CHUNKS.labels(row["model"]).set(row["chunks"])

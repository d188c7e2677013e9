"""How long a search takes in a large index, and how many chunks are taken in: `python -m tests.bench.retrieval_speed`.

The index holds chunks of made-up words, as frequent as words are (Zipf), and vectors around some centres. Questions are
words of chunks. Everything else is as in the service: the database, the processes of the models, the search itself.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy

from media.adapters.vector_index import VectorIndex
from media.retrieval.encoders import written
from media.retrieval.lexical_terms import sparse, term_list, term_weights, terms_of
from media.retrieval_ports import Sought
from sonant_cli.engines import postgres
from tests.bench.tables import number, table
from tests.support.engines import running
from tests.support.models import fetched
from tests.support.passages import DIMENSIONS, MODEL, Library, library_on

ORG = "bench"
SCOPE = Sought(ORG, "default").scope
WORDS, CENTRES, CHUNK_WORDS = 50_000, 300, 120
AT_ONCE = 1000
# Of a document that is taken in: some 70,000 characters.
DOCUMENT_TEXTS = 100
LOAD_SECONDS = 3600.0
QUESTION_WORDS = 6
ADD_DOCUMENT = """
INSERT INTO media.documents (id, org_id, project_id, collection, user_id, name, content_type, version, chunks,
    characters, sha256, metadata, job_id, asked_at)
VALUES ($1, $2, 'default', 'default', '', $1, 'text/plain', 1, $3, 0, '', '{}', '', now())
"""
ADD_CHUNKS = """
INSERT INTO media.chunks (document_id, org_id, project_id, collection, user_id, version, ordinal, heading, text,
    start_at, end_at, terms, weights)
SELECT $1, $2, 'default', 'default', '', 1, given.ordinal, '', given.text, 0, 0, given.terms::integer[],
    given.weights::sparsevec
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS given (text, terms, weights, ordinal) RETURNING id
"""
ADD_VECTORS = """
INSERT INTO media.chunk_vectors (model, chunk_id, document_id, org_id, project_id, collection, user_id, embedding)
SELECT $1, given.id, $2, $3, 'default', 'default', '', given.embedding::halfvec
FROM unnest($4::bigint[], $5::text[]) AS given (id, embedding)
"""
COUNT = """
INSERT INTO media.term_counts (org_id, project_id, term, chunks)
SELECT org_id, project_id, term, count(*) FROM media.chunks, unnest(terms) AS term GROUP BY org_id, project_id, term
"""
COUNTED = "INSERT INTO media.project_chunks (org_id, project_id, chunks, counted) VALUES ($1, 'default', $2, $2)"


class Made:
    """Texts and vectors that nobody wrote."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._numbers = numpy.random.default_rng(seed)
        self._shares = [1 / rank for rank in range(1, WORDS + 1)]
        self._centres = self._numbers.normal(size=(CENTRES, DIMENSIONS[MODEL]))

    def texts(self, count: int) -> list[str]:
        words = self._dice.choices(range(WORDS), self._shares, k=count * CHUNK_WORDS)
        rows = (words[at : at + CHUNK_WORDS] for at in range(0, len(words), CHUNK_WORDS))
        return [" ".join(f"w{word}x" for word in row) for row in rows]

    def vectors(self, count: int) -> list[str]:
        near = self._centres[self._numbers.integers(CENTRES, size=count)]
        found = near + 0.7 * self._numbers.normal(size=near.shape)
        return [written(row) for row in (found / numpy.linalg.norm(found, axis=1, keepdims=True)).tolist()]

    def question(self, text: str) -> str:
        return " ".join(self._dice.sample(text.split(), QUESTION_WORDS))


async def load(library: Library, made: Made, chunks: int) -> list[str]:
    """Fill the index; returns some of the texts."""
    some: list[str] = []
    for at in range(0, chunks, AT_ONCE):
        count, name = min(AT_ONCE, chunks - at), f"document-{at}"
        texts = made.texts(count)
        weights = [term_weights(SCOPE, terms_of(text)) for text in texts]
        await library.pool.execute(ADD_DOCUMENT, name, ORG, count)
        lists, vectors = [term_list(each) for each in weights], [sparse(each) for each in weights]
        rows = await library.pool.fetch(ADD_CHUNKS, name, ORG, texts, lists, vectors, timeout=LOAD_SECONDS)
        ids = [row["id"] for row in rows]
        await library.pool.execute(ADD_VECTORS, MODEL, name, ORG, ids, made.vectors(count), timeout=LOAD_SECONDS)
        some.append(texts[0])
    await library.pool.execute(COUNT, timeout=LOAD_SECONDS)
    await library.pool.execute(COUNTED, ORG, chunks)
    index = VectorIndex(library.pool, {MODEL: library.encoder}, DIMENSIONS, MODEL)
    began = time.perf_counter()
    await index.renew()
    print(f"index of {chunks:,} vectors built in {time.perf_counter() - began:.0f} s", flush=True)
    await library.pool.execute("ANALYZE media.chunks, media.chunk_vectors, media.documents", timeout=LOAD_SECONDS)
    return some


async def searched(library: Library, questions: Sequence[str], mode: str) -> list[str]:
    """A line of the table: what the stages and the whole took, in milliseconds."""
    await library.search(ORG, questions[0], mode=mode)
    taken: dict[str, list[float]] = {}
    for question in questions:
        for stage, seconds in (await library.search(ORG, question, mode=mode)).seconds.items():
            taken.setdefault(stage, []).append(1000 * seconds)
    total = sorted(taken["total"])
    stages = (statistics.median(taken[stage]) if stage in taken else float("nan") for stage in STAGES)
    return [mode, number(statistics.median(total)), number(total[int(0.99 * len(total))]), *map(number, stages)]


STAGES = ("lexical", "embed", "vector", "fetch", "rerank")


async def taken_in(library: Library, made: Made, chunks: int) -> str:
    """What one process makes of vectors in a minute, and what the whole way of a document takes."""
    texts = made.texts(chunks)
    began = time.perf_counter()
    await library.encoder.embed("bench", texts)
    embedded = time.perf_counter() - began
    began, made_of = time.perf_counter(), 0
    for at in range(0, chunks, DOCUMENT_TEXTS):
        text = "\n\n".join(texts[at : at + DOCUMENT_TEXTS])
        made_of += (await library.add(ORG, f"taken in {at}", text)).chunks
    whole = time.perf_counter() - began
    return (
        f"taken in: {60 * made_of / whole:,.0f} chunks/minute in all, of these vectors alone "
        f"{60 * chunks / embedded:,.0f} texts/minute of {CHUNK_WORDS} words"
    )


async def measure(chunks: int, questions: int, intake: int) -> None:
    models = fetched("all-minilm-l6-v2", "minilm-l4-reranker")
    made = Made(16)
    async with running(postgres) as engine:
        with tempfile.TemporaryDirectory() as folder:
            async with library_on(engine.url, models, Path(folder)) as library:
                some = await load(library, made, chunks)
                asked = [made.question(some[at % len(some)]) for at in range(questions)]
                rows = [await searched(library, asked, mode) for mode in ("lexical", "vector", "fused", "reranked")]
                head = ["mode", "p50 ms", "p99 ms", *(f"{stage} p50" for stage in STAGES)]
                print(table(head, rows), flush=True)
                print(await taken_in(library, made, intake), flush=True)


def main() -> None:
    """Command line: `python -m tests.bench.retrieval_speed --chunks 100000`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000, help="chunks in the index")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--intake", type=int, default=300, help="chunks that are taken in")
    options = parser.parse_args()
    asyncio.run(measure(options.chunks, options.questions, options.intake))


if __name__ == "__main__":
    main()

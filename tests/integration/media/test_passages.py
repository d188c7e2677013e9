"""Documents and search on PostgreSQL with pgvector, with the models of this machine."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.adapters.postgres_passages import PostgresPassages
from media.adapters.vector_index import VectorIndex
from media.retrieval.lexical_terms import term_id, terms_of
from media.retrieval_ports import Candidates, DocumentPage, Sought
from tests.support.engines import new_database
from tests.support.passages import DIMENSIONS, MODEL, Library, library_on, wanted

LAMP = "The lamp has a brass foot. Its warranty is thirty months from the day on the receipt."
KETTLE = "The kettle holds two litres. Descale it once a month with vinegar."
RIVER = "The river Elbe rises in the Giant Mountains and reaches the sea near Cuxhaven."
MODES = ("lexical", "vector", "fused", "reranked")


@pytest.fixture(scope="module")
async def library(
    postgres_url: str, text_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Library]:
    async with new_database(postgres_url, "passages") as database_url:
        async with library_on(database_url, text_models, tmp_path_factory.mktemp("documents")) as library:
            yield library


@pytest.mark.parametrize("mode", MODES)
async def test_the_passage_that_answers_comes_first(library: Library, mode: str) -> None:
    org = f"first-{mode}"
    for name, text in {"lamp": LAMP, "kettle": KETTLE, "river": RIVER}.items():
        await library.add(org, name, text, metadata={"kind": name})
    found = await library.search(org, "How long is the warranty of the lamp?", mode=mode)
    best = found.data[0]
    assert (best.document, best.text, best.metadata) == ("lamp", LAMP, {"kind": "lamp"})
    assert (best.start, best.end) == (0, len(LAMP))
    assert found.mode == mode
    assert [passage.score for passage in found.data] == sorted((passage.score for passage in found.data), reverse=True)
    stages = {"lexical": ["lexical"], "vector": ["vector"], "fused": ["lexical", "vector", "fused"]}
    for stage in stages.get(mode, ["lexical", "vector", "fused", "rerank"]):
        assert getattr(best.scores, stage) is not None, stage


async def test_candidates_have_any_of_the_terms_or_both_of_a_pair(library: Library) -> None:
    for name, text in {"lamp": LAMP, "kettle": KETTLE, "river": RIVER}.items():
        await library.add("org-t", name, text)
    sought = Sought("org-t", "default")
    lamp, brass, kettle, month = (
        term_id(sought.scope, term) for word in ("lamp", "brass", "kettle", "month") for term in terms_of(word)
    )
    passages = PostgresPassages(library.pool, DIMENSIONS)

    async def found(*groups: Candidates, limit: int = 10) -> list[str]:
        scores = await passages.lexical(sought, groups, {lamp: 3.0, brass: 2.0, kettle: 1.0}, limit)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        chunks = await passages.fetch(sought, list(scores))
        return [chunks[id].name for id in scores]

    assert await found(Candidates(10, pairs=[(lamp, brass), (lamp, kettle)])) == ["lamp"]
    assert await found(Candidates(10, pairs=[(lamp, kettle)])) == []
    assert await found(Candidates(10, [lamp, kettle])) == ["lamp", "kettle"]
    assert await found(Candidates(10, [lamp], [(kettle, month)])) == ["lamp", "kettle"]
    assert await found(Candidates(10, pairs=[(kettle, month)]), Candidates(10, [lamp, kettle])) == ["lamp", "kettle"]
    assert await found(Candidates(10, [kettle]), Candidates(10, [lamp]), limit=1) == ["lamp"]
    assert len(await found(Candidates(1, [lamp, kettle]))) == 1


async def test_nobody_finds_what_is_another_ones(library: Library) -> None:
    """Of another organisation, project, end user or collection; whatever is asked by name or id."""
    other = await library.add("org-a", "lamp", LAMP)
    await library.add("org-a", "lamp", LAMP + " In blue.", project_id="blue")
    await library.add("org-a", "lamp", LAMP + " Of Ada.", user_id="ada")
    await library.add("org-a", "lamp", LAMP + " In the attic.", collection="attic")
    await library.add("org-b", "kettle", KETTLE)
    for mode in MODES:
        assert await library.texts("org-b", "warranty of the lamp", mode=mode) == (
            [] if mode == "lexical" else [KETTLE]
        )
        ids = (other.id,)
        assert await library.texts("org-b", "warranty of the lamp", mode=mode, document_ids=ids) == []
        both = {LAMP, LAMP + " In the attic."}
        assert set(await library.texts("org-a", "warranty of the lamp", mode=mode)) == both
        ada = await library.texts("org-a", "warranty of the lamp", mode=mode, user_id="ada")
        assert set(ada) == both | {LAMP + " Of Ada."}
        attic = await library.texts("org-a", "warranty of the lamp", mode=mode, collections=("attic",))
        assert attic == [LAMP + " In the attic."]
        blue = await library.texts("org-a", "warranty of the lamp", mode=mode, project_id="blue")
        assert blue == [LAMP + " In blue."]
    assert await library.rows.get("org-b", other.id) is None
    assert await library.rows.edit("org-b", other.id, {"mine": True}) is None
    assert await library.rows.remove("org-b", other.id) is False
    assert await library.rows.forget("org-a", "ada", time.time()) == 1
    assert set(await library.texts("org-a", "warranty", user_id="ada")) == both


async def test_a_new_version_is_there_as_a_whole_or_not_at_all(library: Library) -> None:
    """Searches that run meanwhile see all passages of one version, and of one alone."""
    texts = [f"Version {number} of the timetable." + " It lists trams and trains." * 60 for number in (1, 2)]
    documents = [wanted("org-v", "timetable", text=text) for text in texts]
    versions = [await library.version("org-v", document) for document in documents]
    await library.rows.replace(versions[0])
    chunks = [len(version.chunks) for version in versions]
    assert min(chunks) > 1
    seen: list[tuple[int, ...]] = []
    done = asyncio.Event()

    async def search() -> None:
        while not done.is_set():
            found = await library.search("org-v", "timetable of trams and trains", mode="lexical", k=50)
            seen.append(tuple(sorted({passage.version for passage in found.data})))
            assert len(found.data) in (0, *chunks)

    searching = asyncio.create_task(search())
    await library.rows.replace(versions[1])
    done.set()
    await searching
    assert set(seen) <= {(1,), (2,), ()}, seen
    assert {passage.version for passage in (await library.search("org-v", "timetable")).data} == {2}


async def test_what_was_asked_for_last_stays(library: Library) -> None:
    old, new = (wanted("org-l", "note", text=f"The note says {word}.") for word in ("apple", "plum"))
    later, earlier = await library.version("org-l", new, 900), await library.version("org-l", old, 800)
    await library.rows.replace(later)
    assert (await library.rows.replace(earlier)).version == 1
    await asyncio.gather(*(library.rows.replace(later) for _ in range(4)))
    assert await library.texts("org-l", "What does the note say?") == ["The note says plum."]


async def test_metadata_chooses_and_changes_without_a_new_version(library: Library) -> None:
    await library.add("org-m", "lamp", LAMP, metadata={"room": "hall", "floor": 1})
    kettle = await library.add("org-m", "kettle", KETTLE, metadata={"room": "kitchen", "floor": 1})
    for mode in MODES:
        hall = await library.texts("org-m", "lamp and kettle", mode=mode, metadata={"room": "hall", "floor": 1})
        assert hall == [LAMP]
        assert await library.texts("org-m", "lamp", mode=mode, metadata={"room": "hall", "floor": 2}) == []
    edited = await library.rows.edit("org-m", kettle.id, {"room": "hall"})
    assert edited is not None
    assert (edited.version, edited.metadata) == (1, {"room": "hall"})
    assert set(await library.texts("org-m", "lamp and kettle", metadata={"room": "hall"})) == {LAMP, KETTLE}


async def test_nothing_is_left_of_what_was_taken_away(library: Library) -> None:
    document = await library.add("org-d", "lamp", LAMP)
    assert await library.rows.remove("org-d", document.id) is True
    assert await library.rows.remove("org-d", document.id) is False
    assert (await library.search("org-d", "lamp")).data == ()
    assert await library.pool.fetchval("SELECT count(*) FROM media.chunks WHERE org_id = 'org-d'") == 0
    assert await library.pool.fetchval("SELECT count(*) FROM media.chunk_vectors WHERE org_id = 'org-d'") == 0
    counted = "SELECT chunks FROM media.project_chunks WHERE org_id = 'org-d'"
    assert await library.pool.fetchval(counted) == 0


async def test_pages_come_newest_first(library: Library) -> None:
    names = [f"note {number}" for number in range(5)]
    for name in names:
        await library.add("org-p", name, f"This is {name}.")
    shown, after = [], None
    while page := await library.rows.page(DocumentPage("org-p", "default", None, "", 2, after)):
        shown += [document.name for document in page]
        after = page[-1].id
    assert shown == names[::-1]


async def test_vectors_are_remade_and_switched_when_the_model_changes(library: Library) -> None:
    """Until all are there the former ones are searched; what is taken in meanwhile has both."""
    await library.add("org-s", "lamp", LAMP)
    index = VectorIndex(
        library.pool, {MODEL: library.encoder, "new": library.encoder}, {**DIMENSIONS, "new": 384}, "new"
    )
    assert [encoder.model for encoder in await index.models()] == [MODEL, MODEL]
    await index.renew()
    assert await library.pool.fetchval("SELECT model FROM media.vector_model") == "new"
    models = await library.pool.fetch("SELECT DISTINCT model FROM media.chunk_vectors")
    assert [row["model"] for row in models] == ["new"]
    chunks = await library.pool.fetchval("SELECT count(*) FROM media.chunks")
    assert await library.pool.fetchval("SELECT count(*) FROM media.chunk_vectors") == chunks

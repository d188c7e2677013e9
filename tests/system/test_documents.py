"""Documents over HTTP: taken in, found, changed, and taken away."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.document_files import bomb, pdf, word
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# Others use the machine too.
JOB_SECONDS = 170
ENDED = ("completed", "failed", "cancelled")
MANUAL = """# The lamp

The lamp has a brass foot and a shade of green glass.

## Cleaning

Unplug the lamp. Wipe the glass with a damp cloth, and never with spirit: it takes the colour off.

## Warranty

Whoever bought the lamp has a warranty of thirty months from the day on the receipt.
"""


@pytest.fixture
def key(sonant: Sonant, text_models: Path) -> Key:
    return new_key(sonant, scopes=["media"])


async def ended(caller: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text

    async def check() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    return await eventually(check, timeout=JOB_SECONDS, interval=0.2) or {}


async def taken_in(caller: httpx.AsyncClient, **document: Any) -> dict[str, Any]:
    """The result of the job that took a document in."""
    job = await ended(caller, await caller.post("/v1/documents", json=document))
    assert job["state"] == "completed", job["error"]
    result: dict[str, Any] = job["result"]
    return result


async def found(caller: httpx.AsyncClient, query: str, **search: Any) -> list[dict[str, Any]]:
    answer = await caller.post("/v1/search", json={"query": query, **search})
    assert answer.status_code == 200, answer.text
    passages: list[dict[str, Any]] = answer.json()["data"]
    return passages


async def test_what_was_taken_in_is_found_by_word_and_by_meaning(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        result = await taken_in(caller, name="manual.md", text=MANUAL, metadata={"product": "lamp"})
        assert (result["version"], result["chunks"], result["content_type"]) == (1, 3, "text/markdown")
        for mode in ("lexical", "vector", "fused", "reranked"):
            best = (await found(caller, "How long is the warranty?", mode=mode))[0]
            assert best["heading"] == "The lamp > Warranty", mode
            assert best["text"] == MANUAL[best["start"] : best["end"]] or "thirty months" in best["text"]
            assert (best["document"], best["metadata"]) == ("manual.md", {"product": "lamp"})
        # Not a word of it stands there.
        [best, *_] = await found(caller, "May I use alcohol on it?", mode="vector")
        assert best["heading"] == "The lamp > Cleaning"


async def test_a_pdf_is_uploaded_and_found_with_its_page(sonant: Sonant, key: Key) -> None:
    pages = [["The kettle holds two litres of water."], ["Descale it once a month.", "Vinegar will do."]]
    query = {"name": "kettle.pdf", "collection": "manuals"}
    async with client(sonant.url, key.headers) as caller:
        headers = {"content-type": "application/pdf"}
        job = await ended(caller, await caller.post("/v1/documents", params=query, content=pdf(pages), headers=headers))
        assert job["state"] == "completed", job["error"]
        form = {"file": ("notes.docx", word([("Heading 1", "Toaster"), ("Normal", "It has two slots.")]))}
        job = await ended(caller, await caller.post("/v1/documents", files=form))
        assert job["state"] == "completed", job["error"]
        [best, *_] = await found(caller, "How often is the kettle to be descaled?", collections=["manuals"])
        assert (best["document"], best["page"], best["collection"]) == ("kettle.pdf", 1, "manuals")
        assert "once a month" in best["text"]
        [best, *_] = await found(caller, "How many slots has the toaster?")
        assert (best["document"], best["heading"]) == ("notes.docx", "Toaster")


async def test_the_same_again_changes_nothing_and_another_text_is_a_new_version(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        first = await taken_in(caller, name="note", text="The code of the gate is plum.")
        again = await taken_in(caller, name="note", text="The code of the gate is plum.", metadata={"by": "Ada"})
        assert (again["version"], again["unchanged"], again["document_id"]) == (1, True, first["document_id"])
        second = await taken_in(caller, name="note", text="The code of the gate is pear.")
        assert (second["version"], second["unchanged"]) == (2, False)
        path = f"/v1/documents/{first['document_id']}"
        document = (await caller.get(path)).json()
        assert (document["version"], document["chunks"], document["metadata"]) == (2, 1, {})
        assert [each["text"] for each in await found(caller, "code of the gate")] == ["The code of the gate is pear."]
        changed = await caller.patch(path, json={"metadata": {"by": "Bob"}})
        assert changed.json()["metadata"] == {"by": "Bob"}
        assert len(await found(caller, "code of the gate", metadata={"by": "Bob"})) == 1
        assert await found(caller, "code of the gate", metadata={"by": "Ada"}) == []
        listed = (await caller.get("/v1/documents")).json()
        assert [each["id"] for each in listed["data"]] == [first["document_id"]]
        assert (await caller.delete(path)).json() == {"id": first["document_id"], "object": "document", "deleted": True}
        assert (await caller.get(path)).status_code == 404
        assert await found(caller, "code of the gate") == []


async def test_no_route_leads_to_another_organisation(sonant: Sonant, key: Key) -> None:
    other = new_key(sonant, scopes=["media"])
    async with client(sonant.url, key.headers) as owner, client(sonant.url, other.headers) as stranger:
        mine = await taken_in(owner, name="secret", text="The vault opens with the word marzipan.", collection="vault")
        path = f"/v1/documents/{mine['document_id']}"
        for answer in (
            await stranger.get(path),
            await stranger.patch(path, json={"metadata": {"mine": True}}),
            await stranger.delete(path),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "document_not_found"
        assert (await stranger.get("/v1/documents", params={"collection": "vault"})).json()["data"] == []
        after = await stranger.get("/v1/documents", params={"after": mine["document_id"]})
        assert after.json()["data"] == []
        for mode in ("lexical", "vector", "fused", "reranked"):
            asked = {"document_ids": [mine["document_id"]], "collections": ["vault"], "mode": mode}
            assert await found(stranger, "Which word opens the vault?", **asked) == []
        # The same name elsewhere is another document.
        theirs = await taken_in(stranger, name="secret", text="There is no vault.", collection="vault")
        assert theirs["document_id"] != mine["document_id"]
        assert [each["text"] for each in await found(owner, "vault")] == ["The vault opens with the word marzipan."]
        assert (await owner.get(path)).json()["metadata"] == {}


async def test_a_key_of_another_scope_is_refused(sonant: Sonant) -> None:
    chat_only = new_key(sonant, scopes=["chat"])
    async with client(sonant.url, chat_only.headers) as caller:
        answers = (await caller.get("/v1/documents"), await caller.post("/v1/search", json={"query": "x"}))
        assert [answer.status_code for answer in answers] == [403, 403]


async def test_hostile_documents_get_a_reason(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    cases = {
        "document_type": b"\x7fELF\0\0\0\0",
        "document_unreadable": b"%PDF-1.7 nothing else",
        "document_without_text": pdf([[]]),
        "document_too_long": bomb(40),
    }
    headers = {"content-type": "application/octet-stream"}
    async with client(sonant.url, key.headers) as caller:
        posted = [await caller.post("/v1/documents", content=data, headers=headers) for data in cases.values()]
        posted.append(await caller.post("/v1/documents", json={"url": "http://127.0.0.1:9/secret"}))
        jobs = await asyncio.gather(*(ended(caller, answer) for answer in posted))
        codes = [job["error"]["code"] for job in jobs]
        assert codes[: len(cases)] == list(cases)
        assert jobs[-1]["state"] == "failed"
        assert (await caller.get("/v1/documents")).json()["data"] == []


async def test_what_cannot_be_is_refused_at_once(sonant: Sonant, key: Key) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"text": "a", "url": "https://x.test"},
        {"text": ""},
        {"text": "a" * 200_001},
        {"text": "a", "name": "line\nbreak"},
        {"text": "a", "collection": "../etc"},
        {"text": "a", "metadata": {str(number): 1 for number in range(17)}},
        {"text": "a", "metadata": {"nested": {"a": 1}}},
        {"text": "a", "content_type": "image/png"},
        {"url": "file:///etc/passwd"},
    ]
    searches: list[dict[str, Any]] = [
        {"query": ""},
        {"query": "a" * 4001},
        {"query": "a", "k": 0},
        {"query": "a", "mode": "best"},
        {"query": "a", "collections": ["a/b"]},
    ]
    async with client(sonant.url, key.headers) as caller:
        for body in wrong:
            assert (await caller.post("/v1/documents", json=body)).status_code == 400, body
        for body in searches:
            assert (await caller.post("/v1/search", json=body)).status_code == 400, body
        assert (await caller.get("/v1/documents/doc_1")).status_code == 404

"""What documents say is at hand when somebody talks: from an upload to an answer that names its source."""

import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import calls, chat, client
from tests.support.document_files import pdf
from tests.support.models import TEXT_MODELS, fetched
from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
# A worker process loads a model before its first text.
PATIENCE = 120.0
HANDBOOK = """# Handbook of the shop

## Returns

Shoes may be returned within 30 days, if they were worn indoors only. The refund takes four working days.

## Opening hours

The shop opens at nine in the morning, and closes at six. On Sundays it stays closed.
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Sonant]:
    """A system that has the models which read documents."""
    with sonant_system(env={"SONANT_MODELS_DIR": str(fetched(*TEXT_MODELS))}) as system:
        yield system


@pytest.fixture
async def http(shop: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    async with client(shop.url, {**shop.headers, "x-user-id": "ada"}) as opened:
        yield opened


async def taken_in(http: httpx.AsyncClient, project: str, **document: Any) -> str:
    """The id of a document, once it is found."""
    body = {"project_id": project, **document}
    job = (await http.post("/v1/documents", json=body)).raise_for_status().json()

    async def result() -> Any:
        shown = (await http.get(f"/v1/jobs/{job['id']}")).json()
        assert shown["state"] not in ("failed", "cancelled"), shown
        return shown["result"]

    return str((await eventually(result, timeout=PATIENCE))["document_id"])


async def project_of(http: httpx.AsyncClient, retrieval: dict[str, Any] | None, **config: Any) -> str:
    """A project whose config wants documents in this way."""
    project = f"project-{uuid.uuid4().hex[:8]}"
    prompt = (await http.post("/api/hume/prompts", json={"name": project, "text": "Serve the customers."})).json()
    wanted = {"name": project, "evi_version": "3", **({} if retrieval is None else {"retrieval": retrieval}), **config}
    made = (await http.post("/api/hume/configs", json=wanted)).raise_for_status().json()
    pins = {"projectId": project, "configId": made["config"]["id"], "promptId": prompt["prompt"]["id"]}
    (await http.put("/v1/active?layer=project", json=pins)).raise_for_status()
    return project


def asked(shop: Sonant, question: str) -> str:
    """What the model was asked with: the content of the last message."""
    (call,) = calls(shop, question)
    return str(call["body"]["messages"][-1]["content"])


async def test_an_answer_is_made_with_what_a_document_says_and_names_it(shop: Sonant, http: httpx.AsyncClient) -> None:
    project = await project_of(http, {"collections": ["handbook"], "deadline_secs": 10})
    document = await taken_in(
        http, project, name="Handbook.md", text=HANDBOOK, content_type="text/markdown", collection="handbook"
    )
    headers = {"x-project-id": project}
    question = f"How many days may I return shoes, {project}?"
    answer = await http.post(PATH, json=chat(question), headers=headers)
    assert answer.status_code == 200
    sources = json.loads(answer.headers["x-sonant-sources"])
    assert sources[0]["document"] == document
    assert sources[0]["name"] == "Handbook.md"
    assert "Returns" in sources[0]["heading"]
    assert "within 30 days" in asked(shop, question)
    foreign = await http.post(PATH, json=chat("Which composer wrote the ninth symphony?"), headers=headers)
    assert "x-sonant-sources" not in foreign.headers


@pytest.mark.skipif(shutil.which("curl") is None, reason="the example speaks curl")
def test_the_readme_has_a_pdf_answer_with_its_source(shop: Sonant, tmp_path: Path) -> None:
    (example,) = (block for block in blocks("../README.md", "sh") if "handbook.pdf" in block)
    pages = [["Shoes may be returned within 30 days."], ["The shop opens at nine in the morning."]]
    (tmp_path / "handbook.pdf").write_bytes(pdf(pages))
    told = Reader.at(tmp_path, shop).types(SHELL, example)
    assert '"error"' not in told, told
    (header,) = (line for line in told.splitlines() if line.startswith("x-sonant-sources: "))
    source = json.loads(header.partition(": ")[2])[0]
    assert (source["name"], source["page"]) == ("handbook.pdf", 1)


async def test_a_document_of_others_and_of_other_projects_is_not_found(shop: Sonant, http: httpx.AsyncClient) -> None:
    project = await project_of(http, {"deadline_secs": 10})
    await taken_in(http, await project_of(http, None), name="Handbook.md", text=HANDBOOK)
    await taken_in(http, project, name="Of bob.md", text=HANDBOOK, user_id="bob")
    answer = await http.post(PATH, json=chat("How many days may I return shoes?"), headers={"x-project-id": project})
    assert answer.status_code == 200
    assert "x-sonant-sources" not in answer.headers


async def test_what_a_user_said_is_known_in_a_later_session_until_it_is_deleted(
    shop: Sonant, http: httpx.AsyncClient
) -> None:
    project = await project_of(http, {"memory": True, "deadline_secs": 10}, session={"store": True})
    headers = {"x-project-id": project, "x-session-id": f"monday-{project}"}
    said = f"My daughter Zoe is allergic to walnuts and peanuts, {project}."
    (await http.post(PATH, json=chat(said), headers=headers)).raise_for_status()
    documents = {"project_id": project, "collection": "memory", "user_id": "ada"}

    async def remembered() -> Any:
        return (await http.get("/v1/documents", params=documents)).json()["data"]

    await eventually(remembered, timeout=PATIENCE)
    question = f"What is my daughter Zoe allergic to, {project}?"
    later = {**headers, "x-session-id": f"friday-{project}"}
    answer = await http.post(PATH, json=chat(question), headers=later)
    assert "walnuts and peanuts" in asked(shop, question)
    assert json.loads(answer.headers["x-sonant-sources"])
    of_others = await http.post(PATH, json=chat(question), headers={**later, "x-user-id": "bob"})
    assert "x-sonant-sources" not in of_others.headers
    (await http.delete(f"/v1/sessions/monday-{project}")).raise_for_status()

    async def monday_is_gone() -> bool:
        return all("monday" not in each["name"] for each in await remembered())

    await eventually(monday_is_gone, timeout=PATIENCE)
    # What was said on Friday may still be on its way.
    assert (await http.delete("/v2/users/ada")).status_code == 202

    async def forgotten() -> bool:
        return not await remembered()

    await eventually(forgotten, timeout=PATIENCE)

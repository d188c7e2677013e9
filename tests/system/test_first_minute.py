"""A newcomer's first minute: one command, an unmodified client, a streamed answer that went all the way."""

import os
import re
from urllib.parse import urljoin

import httpx
from openai import AsyncOpenAI

from tests.support.sonant import Sonant
from tests.support.waiting import eventually


async def test_an_openai_client_gets_a_streamed_answer(sonant: Sonant) -> None:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=sonant.key) as client:
        stream = await client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Say: hello from far away"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "hello from far away"
    assert len(chunks) > 3
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_turn_turns_up_in_usage_once(sonant: Sonant) -> None:
    created = httpx.post(
        f"{sonant.url}/v1/admin/keys", headers=sonant.headers, json={"name": "usage", "organization": "usage-org"}
    ).json()
    headers = {"Authorization": f"Bearer {created['key']}"}
    body = {"messages": [{"role": "user", "content": "Say: one two three"}]}
    answer = httpx.post(f"{sonant.url}/v1/chat/completions", headers=headers, json=body).json()

    def rows() -> list[dict[str, object]]:
        found = httpx.get(f"{sonant.url}/v1/usage", headers=headers).json()["data"]
        return list(found)

    (row,) = await eventually(rows)
    assert row["model"] == "default"
    assert row["key_id"] == created["id"]
    assert row["turns"] == row["completed"] == 1
    assert row["total_tokens"] == answer["usage"]["total_tokens"]
    assert float(str(row["cost_usd"])) > 0


async def test_the_answer_says_that_it_comes_from_the_sandbox(sonant: Sonant) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = httpx.post(f"{sonant.url}/v1/chat/completions", headers=sonant.headers, json=body)
    assert response.headers["x-sonant-provider"] == "sandbox"
    assert response.headers["x-request-id"]


async def test_the_models_are_listed(sonant: Sonant) -> None:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=sonant.key) as client:
        assert "default" in [model.id async for model in client.models.list()]


async def test_the_documents_are_served_without_the_internet(sonant: Sonant) -> None:
    assert httpx.get(f"{sonant.url}/openapi.json").json()["openapi"].startswith("3.1")
    assert httpx.get(f"{sonant.url}/asyncapi.json").json()["asyncapi"].startswith("3.")
    page = httpx.get(f"{sonant.url}/docs", follow_redirects=True)
    assert page.status_code == 200
    assert "//cdn" not in page.text


async def test_a_browser_finds_its_way(sonant: Sonant) -> None:
    home = httpx.get(sonant.url)
    assert home.headers["content-type"].startswith("text/html")
    for link in re.findall(r'href="([^"]+)"', home.text):
        assert httpx.get(f"{sonant.url}/{link}").status_code == 200, link
    # With and without a slash the page finds its parts.
    for page in ("docs", "docs/"):
        text = httpx.get(f"{sonant.url}/{page}").text
        for part in re.findall(r'(?:href|src)="([^"]+)"', text):
            assert httpx.get(urljoin(f"{sonant.url}/{page}", part)).status_code == 200, (page, part)
    assert httpx.get(f"{sonant.url}/metrics").status_code == 404


async def test_health_readiness_and_metrics_answer(sonant: Sonant) -> None:
    for name in ("gateway", "llm-stream", "resources", "telemetry"):
        assert sonant.ops(name, "/healthz").status_code == 200
        assert sonant.ops(name, "/readyz").json()["status"] == "ready"
        assert "sonant_live_frames_total" in sonant.ops(name, "/metrics").text
    assert httpx.get(f"{sonant.url}/readyz").status_code == 200


def test_ctrl_c_reaches_the_supervisor_alone_and_priorities_count_among_all_services(sonant: Sonant) -> None:
    """Each process leads a group of its own; all are in one session, within which the kernel compares priorities."""
    pids = {name: sonant.pid(name) for name in ("gateway", "llm-stream", "media")}
    assert {name: os.getpgid(pid) for name, pid in pids.items()} == pids
    assert {os.getsid(pid) for pid in pids.values()} == {os.getsid(sonant.run()["pid"])}

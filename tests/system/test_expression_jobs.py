"""The batch job of the voice guide: from the URL of a file to predictions, called back or polled."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, client, new_key
from tests.support.media_files import voice, wav
from tests.support.sonant import Sonant, free_port, sonant_system
from tests.support.waiting import eventually

ACCOUNT = "/sandbox/hume/accounts/sandbox"
ENDED = ("completed", "failed", "cancelled")
# What measures here has the lowest priority, and starts by loading its packages.
PATIENCE = 160.0
# So long after its begin a job is done, and called back, where the stand-in is to call back.
DONE_SECONDS = 0.5


@pytest.fixture(scope="module")
async def sonant() -> AsyncIterator[Sonant]:
    """A system that says where it is, and has jobs of the provider measure alone."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "SONANT_PORT": str(port),
        "SONANT_PUBLIC_URL": url,
        "SONANT_EXPRESSION_PROVIDERS": "hume-batch",
        # The file of these tests is fetched from this very system.
        "SONANT_MEDIA_NETWORKS": "127.0.0.0/8",
    }
    with sonant_system(env=settings) as system:
        yield dataclasses.replace(system, url=url)


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def published(caller: httpx.AsyncClient, sonant: Sonant) -> str:
    """A URL under which anybody gets a recording."""
    sound = wav(voice(6.0))
    asset = (await caller.post("/v1/assets", content=sound, headers={"content-type": "audio/wav"})).json()
    link = (await caller.post(f"/v1/assets/{asset['id']}/link", json={"expires_in": 600})).json()
    return f"{sonant.url}{link['url']}"


async def measured(caller: httpx.AsyncClient, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job, and its predictions."""
    answer = await caller.post("/v1/media/expressions", json={"url": url, "models": ["prosody"]})
    assert answer.status_code == 202, answer.text

    async def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = (await caller.get(answer.headers["location"])).json()
        return job if job["state"] in ENDED else None

    job = await eventually(ended, timeout=PATIENCE)
    assert job is not None
    assert job["state"] == "completed", job
    predictions: dict[str, Any] = (await caller.get(job["result"]["url"])).json()
    return job, predictions


async def at_the_provider(sonant: Sonant, job: dict[str, Any]) -> dict[str, Any]:
    """What the stand-in knows of the job."""
    [attempt] = [each for each in job["attempts"] if each["operation"] == "batch"]
    async with client(sonant.sandbox_url, {"X-Hume-Api-Key": "sandbox"}) as provider:
        found: dict[str, Any] = (await provider.get(f"/v0/batch/jobs/{attempt['reference']}")).json()
    return found


def check(predictions: dict[str, Any]) -> None:
    [prosody] = predictions["models"]
    assert (prosody["model"], prosody["native"]) == ("prosody", "prosody")
    samples = prosody["tracks"][0]["samples"]
    assert samples
    assert all(sample["scores"] and 0 <= sample["begin"] < sample["end"] <= 6.5 for sample in samples)


def callbacks_taken(sonant: Sonant) -> float:
    """Requests that the gateway took at the addresses of these callbacks."""
    taken = 'sonant_webhooks_received_total{outcome="published",provider="hume-batch"} '
    lines = sonant.ops("gateway", "/metrics").text.splitlines()
    return sum(float(line.removeprefix(taken)) for line in lines if line.startswith(taken))


async def test_a_callback_ends_the_wait_for_a_job(sonant: Sonant, key: Key) -> None:
    async with client(sonant.sandbox_url, {}) as control, client(sonant.url, key.headers) as caller:
        await control.put(ACCOUNT, json={"batch_seconds": DONE_SECONDS})
        before = callbacks_taken(sonant)
        job, predictions = await measured(caller, await published(caller, sonant))
        check(predictions)
        native = await at_the_provider(sonant, job)
        assert native["request"]["callback_url"].startswith(f"{sonant.url}/webhooks/hume-batch/")

        async def taken() -> bool:
            return callbacks_taken(sonant) > before

        await eventually(taken, timeout=30)
        # Whoever does not know the address of the job is told nothing.
        assert (await caller.post("/webhooks/hume-batch/guessed", json={"job_id": job["id"]})).status_code == 401


async def test_a_job_that_nobody_calls_back_about_is_polled(sonant: Sonant, key: Key) -> None:
    async with client(sonant.sandbox_url, {}) as control, client(sonant.url, key.headers) as caller:
        await control.put(ACCOUNT, json={"batch_seconds": None})
        before = callbacks_taken(sonant)
        _, predictions = await measured(caller, await published(caller, sonant))
        check(predictions)
        assert callbacks_taken(sonant) == before

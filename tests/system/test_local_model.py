"""`sonant up --local-model`: real answers without a key and without the sandbox, as every upstream gives them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from tests.support.local_model import MODEL, local_system
from tests.support.models import fetched

# Two slow cores of which others have most.
PATIENCE = 240.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its URL and admin key."""
    fetched(MODEL)
    with local_system(tmp_path_factory.mktemp("local") / "data") as started:
        yield started


async def test_a_model_on_this_machine_streams_an_answer(alone: tuple[str, str]) -> None:
    url, key = alone
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, timeout=PATIENCE) as client:
        stream = await client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}],
            max_tokens=40,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        async with stream:
            chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert len([chunk for chunk in chunks if chunk.choices]) > 3
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert {chunk.choices[0].finish_reason for chunk in chunks if chunk.choices} <= {None, "stop", "length"}


async def test_an_answer_in_one_piece_names_neither_the_sandbox_nor_a_path(alone: tuple[str, str]) -> None:
    url, key = alone
    body = {"model": "local", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 10}
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.post(f"{url}/v1/chat/completions", headers={"Authorization": f"Bearer {key}"}, json=body)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]
    assert "x-sonant-provider" not in answer.headers
    assert ".gguf" not in answer.text


def test_without_its_file_nothing_starts_and_one_line_says_what_to_do(tmp_path: Path) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "sonant", "up", "--local-model"],
        env={**others, "SONANT_MODELS_DIR": str(tmp_path), "SONANT_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode != 0
    assert "sonant models fetch smollm2-135m" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()

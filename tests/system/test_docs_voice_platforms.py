"""The page about voice platforms: its examples work as typed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support.clients import calls, client, new_key
from tests.support.sonant import ROOT, Sonant
from tests.support.voice_caller import Hume

PAGE = (ROOT / "docs" / "voice-platforms.md").read_text()
RUN_SECONDS = 60


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def folder(sonant: Sonant, tmp_path: Path) -> Path:
    """A folder as the page takes it for granted: the key where `make run` puts it."""
    (tmp_path / ".sonant").symlink_to(sonant.data_dir)
    return tmp_path


def run(command: list[str], text: str, folder: Path, sonant: Sonant) -> str:
    """Run the text of an example against the system of the test."""
    typed = text.replace("http://127.0.0.1:8080", sonant.url)
    done = subprocess.run(
        [*command, typed],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page speaks curl")
def test_a_request_of_hume_is_answered(sonant: Sonant, folder: Path) -> None:
    said = run(["bash", "-euo", "pipefail", "-c"], block("sh"), folder, sonant)
    *chunks, done = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    first = orjson.loads(chunks[0])
    assert first["system_fingerprint"] == "chat-7"
    assert first["choices"][0]["delta"]["models"]["prosody"]["scores"] == {"Joy": 0.61, "Calmness": 0.2}


def test_a_function_is_called_through_a_response(sonant: Sonant, folder: Path) -> None:
    called, answer = run([sys.executable, "-c"], block("python"), folder, sonant).splitlines()
    assert called == "get_weather {'city': 'Lisbon'}"
    assert "cloudless" in answer


async def test_a_config_has_the_model_told_how_the_user_sounds(sonant: Sonant) -> None:
    config = re.findall(r"^  ```json\n  (.*?)\n  ```$", PAGE, flags=re.DOTALL | re.MULTILINE)[0]
    key = new_key(sonant, scopes=["chat", "resources"])
    async with client(sonant.url, {**key.headers, "x-user-id": "user-1"}) as http:
        made = await stored(http, "configs", orjson.loads(config))
        prompt = await stored(http, "prompts", {"name": "p", "text": "Be brief."})
        pins = {"configId": made["id"], "promptId": prompt["id"]}
        switched = await http.put("/v1/active", params={"layer": "organization"}, json=pins)
        assert switched.status_code == 200, switched.text
        caller = Hume(http)
        text = f"Say: hello {caller.session}"
        scores = {"Joy": 0.61, "Calmness": 0.2, "Awe": 0.0, "Pride": 0.3, "Love": 0.1}
        await caller.says(caller.user(text, scores))
    (call,) = calls(sonant, text)
    assert call["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{text}\n\n(They sound: Joy 0.61, Pride 0.30, Calmness 0.20.)"},
    ]


async def stored(http: httpx.AsyncClient, kind: str, body: dict[str, object]) -> dict[str, str]:
    answer = await http.post(f"/api/hume/{kind}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()[kind[:-1]]
    return made

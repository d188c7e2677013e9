"""The page about voice platforms: its examples work as typed."""

import re
import shutil
from pathlib import Path

import aiohttp
import httpx
import orjson
import pytest

from sandbox.caller.voice_platforms import Hume
from tests.support.clients import calls, client, new_key
from tests.support.page_examples import PYTHON, SHELL, Reader, blocks
from tests.support.sonant import ROOT, Sonant

PAGE = "voice-platforms.md"


@pytest.fixture
def reader(sonant: Sonant, tmp_path: Path) -> Reader:
    return Reader.at(tmp_path, sonant)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page speaks curl")
def test_a_request_of_hume_is_answered(reader: Reader) -> None:
    said = reader.types(SHELL, *blocks(PAGE, "sh"))
    *chunks, done = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    first = orjson.loads(chunks[0])
    assert first["system_fingerprint"] == "chat-7"
    assert first["choices"][0]["delta"]["models"]["prosody"]["scores"] == {"Joy": 0.61, "Calmness": 0.2}


def test_a_function_is_called_through_a_response(reader: Reader) -> None:
    called, answer = reader.types(PYTHON, *blocks(PAGE, "python")).splitlines()
    assert called == "get_weather {'city': 'Lisbon'}"
    assert "cloudless" in answer


async def test_a_config_has_the_model_told_how_the_user_sounds(sonant: Sonant) -> None:
    config = re.findall(
        r"^  ```json\n  (.*?)\n  ```$", (ROOT / "docs" / PAGE).read_text(), flags=re.DOTALL | re.MULTILINE
    )[0]
    key = new_key(sonant, scopes=["chat", "resources"])
    async with client(sonant.url, {**key.headers, "x-user-id": "user-1"}) as http:
        made = await stored(http, "configs", orjson.loads(config))
        prompt = await stored(http, "prompts", {"name": "p", "text": "Be brief."})
        pins = {"configId": made["id"], "promptId": prompt["id"]}
        switched = await http.put("/v1/active", params={"layer": "organization"}, json=pins)
        assert switched.status_code == 200, switched.text
    headers = {**key.headers, "x-user-id": "user-1"}
    async with aiohttp.ClientSession(sonant.url, headers=headers) as line:
        caller = Hume(line)
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

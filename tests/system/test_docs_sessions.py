"""The page about sessions: its example works as typed, and its config does what it says."""

import re
from pathlib import Path

import orjson
import pytest

from tests.support.clients import calls, chat, client, new_key
from tests.support.page_examples import PYTHON, Reader, blocks
from tests.support.sonant import ROOT, Sonant

PAGE = "sessions.md"


@pytest.fixture
def reader(sonant: Sonant, tmp_path: Path) -> Reader:
    return Reader.at(tmp_path, sonant)


def test_the_second_message_knows_the_first(reader: Reader, sonant: Sonant) -> None:
    said = reader.types(PYTHON, "\n".join(blocks(PAGE, "python"))).splitlines()
    assert said == ["My name is Ada.", "What is my name?", "What is my name?", "4"]
    # By its session, and then in a conversation.
    for name, call in zip(("Ada", "Grace"), calls(sonant, "Say: What is my name?")[-2:], strict=True):
        assert [message["content"] for message in call["body"]["messages"]][-3:] == [
            f"Say: My name is {name}.",
            f"My name is {name}.",
            "Say: What is my name?",
        ]


async def test_a_config_keeps_sessions_and_words_the_mark(sonant: Sonant) -> None:
    [told] = re.findall(r"`(\{[^`]*\"session\"[^`]*\})`", (ROOT / "docs" / PAGE).read_text())
    config = orjson.loads(told)
    assert config["session"] == {"store": True}
    config["session"]["interruption_mark"] = "[cut]"
    key = new_key(sonant, scopes=["chat", "resources"])
    headers = {**key.headers, "x-user-id": "user-1", "x-session-id": f"s-{key.id}"}
    async with client(sonant.url, headers) as http:
        made = await http.post("/api/hume/configs", json=config)
        assert made.status_code == 201, made.text
        prompt = await http.post("/api/hume/prompts", json={"name": "p", "text": "Be brief."})
        pins = {"configId": made.json()["config"]["id"], "promptId": prompt.json()["prompt"]["id"]}
        switched = await http.put("/v1/active", params={"layer": "organization"}, json=pins)
        assert switched.status_code == 200, switched.text
        await http.post("/v1/chat/completions", json=chat("Say: one two three"))
        heard = {"heard": {"text": "one two"}}
        noted = await http.post(f"/v1/sessions/s-{key.id}/spoken", json=heard)
        assert noted.json()["spoken"] == "one two", noted.text
        await http.post("/v1/chat/completions", json=chat(f"next {key.id}"))
        # A request says otherwise, for itself.
        await http.post("/v1/chat/completions", json=chat(f"other {key.id}", store=False))
    (call,) = calls(sonant, f"next {key.id}")
    assert call["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say: one two three"},
        {"role": "assistant", "content": "one two"},
        {"role": "user", "content": f"[cut]\n\nnext {key.id}"},
    ]
    assert "sonant_session" not in call["body"]
    (other,) = calls(sonant, f"other {key.id}")
    assert len(other["body"]["messages"]) == 2

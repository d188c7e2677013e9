"""Node's official client, unmodified, works against the gateway (where npm is there)."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import new_key
from tests.support.locked_tools import installed, node_is_there
from tests.support.sonant import Sonant

SOURCE = Path(__file__).parent / "node"
SCRIPT_SECONDS = 60


@pytest.fixture(scope="module")
def told(sonant: Sonant, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script was told by the gateway."""
    if not node_is_there():
        pytest.skip("no npm: install Node.js 20 or newer to test its OpenAI client")
    directory = tmp_path_factory.mktemp("node")
    # Imports are resolved beside the script.
    (directory / "node_modules").symlink_to(installed(SOURCE))
    script = shutil.copy(SOURCE / "chat.mjs", directory)
    env = {**os.environ, "OPENAI_BASE_URL": f"{sonant.url}/v1", "OPENAI_API_KEY": new_key(sonant).text}
    done = subprocess.run(
        ["node", script], env=env, capture_output=True, text=True, timeout=SCRIPT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_models_are_listed(told: dict[str, Any]) -> None:
    assert {"default", "slow"} <= set(told["models"])


def test_a_whole_answer(told: dict[str, Any]) -> None:
    assert told["whole"]["content"] == "all at once"
    assert told["whole"]["request_id"]
    assert told["whole"]["provider"] == "sandbox"


def test_embeddings_are_unpacked(told: dict[str, Any]) -> None:
    vectors = told["embeddings"]["vectors"]
    assert [len(vector) for vector in vectors] == [8, 8]
    assert all(abs(sum(each * each for each in vector) - 1) < 1e-5 for vector in vectors)
    assert told["embeddings"]["usage"]["total_tokens"] > 0


def test_a_streamed_answer_with_usage_at_its_end(told: dict[str, Any]) -> None:
    streamed = told["streamed"]
    assert streamed["text"] == "bit by bit"
    assert streamed["usages"][:-1] == [None] * (len(streamed["usages"]) - 1)
    assert streamed["usages"][-1]["total_tokens"] > 0
    assert streamed["choices"] == []


def test_the_stream_helper_finalises_the_message(told: dict[str, Any]) -> None:
    helper = told["helper"]
    assert helper["heard"] == helper["message"]["content"] == "with the helper"
    assert helper["message"]["role"] == "assistant"
    assert helper["finish_reason"] == "stop"


def test_tool_calls_arrive_in_deltas(told: dict[str, Any]) -> None:
    deltas = told["toolDeltas"]
    assert deltas["ids"][0]
    assert set(deltas["ids"][1:]) == {None}
    assert deltas["name"] == "get_weather"
    assert json.loads(deltas["arguments"]) == {"city": "Lisbon"}
    assert deltas["finish_reason"] == "tool_calls"


def test_the_runner_calls_a_tool_and_speaks_of_its_result(told: dict[str, Any]) -> None:
    assert told["runner"]["asked"] == ["Lisbon"]
    assert told["runner"]["roles"] == ["user", "assistant", "tool", "assistant"]
    assert "cloudless" in told["runner"]["final"]


# With two upstreams text is held back to the end of its sentence.
one_and_two = pytest.mark.parametrize("upstreams", [0, 1], ids=["one upstream", "two"])


@one_and_two
def test_reasoning_text_and_tool_calls_come_in_order(told: dict[str, Any], upstreams: int) -> None:
    thinking = told["thinking"][upstreams]
    assert thinking["kinds"] == ["reasoning_content", "content", "tool_calls"]
    message = thinking["message"]
    assert message["content"] == "Let me look that up. One moment"
    (call,) = message["tool_calls"]
    assert call["id"]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Lisbon"}
    assert thinking["finish_reason"] == "tool_calls"


@one_and_two
def test_a_refusal_of_the_models_own_is_told_as_one(told: dict[str, Any], upstreams: int) -> None:
    declining = told["declining"][upstreams]
    assert declining["kinds"] == ["reasoning_content", "refusal"]
    assert declining["message"]["refusal"] == "I will not. Ask me another"
    assert not declining["message"]["content"]


@one_and_two
def test_logprobs_travel_with_their_text(told: dict[str, Any], upstreams: int) -> None:
    logprobs = told["logprobs"][upstreams]
    assert logprobs["tokens"] == logprobs["texts"]
    assert logprobs["final"] == "".join(logprobs["texts"]) == "One is here. Two is, and no more"


def test_errors_are_the_classes_of_the_client(told: dict[str, Any]) -> None:
    unknown = told["unknownModel"]
    assert (unknown["name"], unknown["status"], unknown["code"]) == ("NotFoundError", 404, "model_not_found")
    assert told["wrongKey"]["name"] == "AuthenticationError"
    assert told["broken"]["name"] == "APIError"
    assert told["broken"]["type"] == "server_error"
    assert told["broken"]["code"]

"""The request that an upstream is sent: the caller's, in the upstream's own terms."""

from typing import Any

import pytest

from llm_stream.aliases import Upstream
from llm_stream.answer.ask import limit_length, merge_request

PLAIN = Upstream(name="a", base_url="http://h", model="m")


def test_a_request_is_the_callers_with_our_model_and_stream_options() -> None:
    body = {"model": "alias", "stream": True, "temperature": 0.5, "messages": [{"role": "user", "content": "hi"}]}
    request = merge_request(body, PLAIN, stream=True, released="")
    assert request == {**body, "model": "m", "stream_options": {"include_usage": True}}
    assert body["model"] == "alias"
    whole = merge_request({**body, "stream_options": {"include_usage": True}}, PLAIN, stream=False, released="")
    assert "stream_options" not in whole
    bare = merge_request(body, PLAIN.model_copy(update={"capabilities": frozenset()}), stream=True, released="")
    assert "stream_options" not in bare


def test_a_continuation_shows_what_was_released() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    request = merge_request(body, PLAIN, stream=True, released="Hello. ")
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "user"]
    assert request["messages"][1]["content"] == "Hello. "
    assert len(body["messages"]) == 1


def test_what_voice_platforms_add_to_messages_stays_with_us() -> None:
    message = {"role": "user", "content": "hi", "type": "user_message", "time": {"begin": 0}, "models": {}}
    [sent] = merge_request({"messages": [message]}, PLAIN, stream=False, released="")["messages"]
    assert sent == {"role": "user", "content": "hi"}


def test_an_answer_that_the_client_began_is_continued_as_one_message() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well, "}]}
    messages = merge_request(body, PLAIN, stream=True, released="hello. ")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "Well, hello. "
    calls = {"role": "assistant", "content": "Well, ", "tool_calls": []}
    messages = merge_request({"messages": [calls]}, PLAIN, stream=True, released="hello. ")["messages"]
    assert messages[:2] == [calls, {"role": "assistant", "content": "hello. "}]


def test_nobody_is_asked_to_continue_white_space() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert merge_request(body, PLAIN, stream=True, released=" \n")["messages"] == body["messages"]


def sent(*messages: dict[str, Any], capabilities: frozenset[str] = frozenset(), released: str = "") -> list[Any]:
    upstream = PLAIN.model_copy(update={"capabilities": capabilities})
    return list(merge_request({"messages": messages}, upstream, stream=True, released=released)["messages"])


def said(role: str, content: Any = "hi", **members: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **members}


def test_all_that_instructs_at_the_beginning_is_one_message() -> None:
    asked = (said("system", "Prompt."), said("developer", "Mine."), said("system", ""), said("user"))
    assert sent(*asked) == [said("system", "Prompt.\n\nMine."), said("user")]
    assert sent(*asked, capabilities=frozenset({"developer"})) == [
        said("developer", "Prompt.\n\nMine."),
        said("user"),
    ]
    parts = [{"type": "text", "text": "b"}]
    assert sent(said("system", "a"), said("system", parts)) == [said("system", [{"type": "text", "text": "a"}, *parts])]


def test_what_instructs_later_or_by_name_stays_where_it_is() -> None:
    later = [said("system"), said("user"), said("system"), said("system")]
    assert sent(*later) == later
    named = [said("system"), said("system", name="a"), said("user")]
    assert sent(*named) == named


def test_a_developer_is_a_system_where_the_upstream_knows_none() -> None:
    asked = [said("developer"), said("user"), said("developer")]
    assert [message["role"] for message in sent(*asked)] == ["system", "user", "system"]
    assert sent(*asked, capabilities=frozenset({"developer"})) == asked


def test_a_continuation_ends_with_the_user() -> None:
    messages = sent(said("system"), said("user"), released="Hello. ")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://api.openai.com.example.org/v1", "max_tokens"),
        ("http://vllm:8000/v1", "max_tokens"),
    ],
)
def test_the_length_is_limited_in_the_upstreams_own_word(url: str, word: str) -> None:
    request: dict[str, Any] = {}
    limit_length(request, PLAIN.model_copy(update={"base_url": url}), 100)
    assert request == {word: 100}

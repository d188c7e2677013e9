"""The request that an upstream is sent: the caller's, in the upstream's own terms."""

from llm_stream.aliases import Upstream
from llm_stream.answer.ask import merge_request

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
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "system"]
    assert request["messages"][1]["content"] == "Hello. "
    assert len(body["messages"]) == 1


def test_what_voice_platforms_add_to_messages_stays_with_us() -> None:
    message = {"role": "user", "content": "hi", "type": "user_message", "time": {"begin": 0}, "models": {}}
    [sent] = merge_request({"messages": [message]}, PLAIN, stream=False, released="")["messages"]
    assert sent == {"role": "user", "content": "hi"}

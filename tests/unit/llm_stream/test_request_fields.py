"""Which fields of a request an upstream gets."""

import typing
from typing import Any

import pytest
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params as chat_params

from llm_stream.aliases import Fields, Upstream
from llm_stream.answer.ask import merge_request
from llm_stream.answer.embeddings import embeddings_request
from llm_stream.answer.request_fields import CHAT_FIELDS, EMBEDDING_FIELDS, VOICE_FIELDS

MESSAGES = [{"role": "user", "content": "hi"}]
VAPI: dict[str, Any] = {
    "call": {"id": "c"},
    "phoneNumber": {"number": "+1"},
    "customer": {"number": "+2"},
    "assistant": {"name": "a"},
    "metadata": {"numAssistantTurns": 1},
}
OWN = {"temperature": 0.5, "chat_template_kwargs": {"enable_thinking": False}}


def sent(body: dict[str, Any], fields: Fields | None) -> dict[str, Any]:
    upstream = Upstream(name="a", base_url="http://h", model="m", fields=fields, capabilities=frozenset())
    request = merge_request({"messages": MESSAGES, **body}, upstream, stream=False, released="")
    return {name: value for name, value in request.items() if name not in ("model", "stream", "messages")}


@pytest.mark.parametrize(
    "platform",
    [
        VAPI,
        {"elevenlabs_extra_body": {"UUID": "1"}, "user_id": "u"},
        {"custom_session_id": "s"},
        {"interaction_type": "response_required", "response_id": 3, "transcript": []},
        {"context": {"presence": True}, "turn_id": 4},
    ],
    ids=["vapi", "elevenlabs", "hume", "retell", "agora"],
)
def test_what_voice_platforms_add_stays_with_us_unless_all_is_wanted(platform: dict[str, Any]) -> None:
    body = {**OWN, **platform}
    assert sent(body, None) == OWN
    assert sent(body, "strict") == {"temperature": 0.5}
    assert sent(body, "all") == body


def test_metadata_of_a_client_passes() -> None:
    body = {"metadata": {"ticket": "7"}}
    assert [sent(body, fields) for fields in (None, "strict", "all")] == [body] * 3


def test_fields_of_messages_follow_the_same_setting() -> None:
    message = {"role": "user", "content": "hi", "models": {"prosody": None}, "time": {"begin": 0}, "turn_id": 1}
    for fields, expected in ((None, MESSAGES), ("strict", MESSAGES), ("all", [message])):
        upstream = Upstream.model_validate({"name": "a", "base_url": "http://h", "model": "m", "fields": fields})
        request = merge_request({"messages": [message]}, upstream, stream=False, released="")
        assert request["messages"] == expected


def test_openais_fields_are_those_of_its_own_client() -> None:
    asked = typing.get_type_hints(chat_params.CompletionCreateParamsStreaming)
    assert asked.keys() == CHAT_FIELDS
    assert typing.get_type_hints(embedding_create_params.EmbeddingCreateParams).keys() == EMBEDDING_FIELDS
    assert VOICE_FIELDS.isdisjoint(CHAT_FIELDS | EMBEDDING_FIELDS)


def test_an_embeddings_request_is_the_callers_with_our_model() -> None:
    body = {"model": "alias", "input": "a", "encoding_format": "base64", "user_id": "u", "truncate": True}
    upstream = Upstream(name="a", base_url="http://h", model="m")
    assert embeddings_request(body, upstream) == {
        "model": "m",
        "input": "a",
        "encoding_format": "base64",
        "truncate": True,
    }
    plain = upstream.model_copy(update={"capabilities": frozenset(), "fields": "strict"})
    assert embeddings_request(body, plain) == {"model": "m", "input": "a"}

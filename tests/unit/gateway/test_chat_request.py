"""Whatever JSON arrives as a chat request, it is taken or refused with a 400, and nothing else happens."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.token_estimate import MEDIA_PART_TOKENS
from common.failures import Refused
from gateway.chat.completion_request import MAX_CHOICES, ChatRequest
from gateway.http.end_user import MAX_ID, checked_id
from gateway.http.errors import response_to
from gateway.http.validation import validate

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "function", "robot"])
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text")}, optional={"text": JSON}), max_size=3)
MESSAGES = st.fixed_dictionaries({"role": ROLES | JSON}, optional={"content": st.text() | PARTS | JSON, "models": JSON})
# Half right, so that the checks behind the first one are reached too.
NEAR_MISSES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3) | JSON},
    optional={name: JSON for name in ChatRequest.model_fields if name != "messages"},
)
GOOD = {"messages": [{"role": "user", "content": "hi"}]}


def outcome(body: Any) -> ChatRequest | Refused:
    try:
        return validate(ChatRequest, body)
    except Refused as error:
        return error


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4) | NEAR_MISSES)
def test_any_json_object_is_taken_or_refused_by_name(body: dict[str, Any]) -> None:
    taken = outcome(orjson.loads(orjson.dumps(body)))
    if isinstance(taken, Refused):
        assert (taken.status, taken.type) == (400, "invalid_request_error")
        assert taken.param is None or taken.param in taken.message
        answer = response_to(taken).body
        assert isinstance(answer, bytes)
        assert json.loads(answer)["error"]["message"]
    else:
        assert taken.reserved_tokens() >= 1


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name not in ChatRequest.model_fields), JSON))
def test_fields_nobody_knows_are_kept(extra: dict[str, Any]) -> None:
    taken = outcome({**GOOD, **extra})
    assert isinstance(taken, ChatRequest)
    assert taken.model_extra == extra


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "robot"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({**GOOD, "model": ""}, "model"),
        ({**GOOD, "model": 5}, "model"),
        ({**GOOD, "model": "m" * 201}, "model"),
        ({**GOOD, "stream": "true"}, "stream"),
        ({**GOOD, "stream": 1}, "stream"),
        ({**GOOD, "stream_options": []}, "stream_options"),
        ({**GOOD, "n": 0}, "n"),
        ({**GOOD, "n": MAX_CHOICES + 1}, "n"),
        ({**GOOD, "temperature": 2.1}, "temperature"),
        ({**GOOD, "temperature": "hot"}, "temperature"),
        ({**GOOD, "top_p": -0.1}, "top_p"),
        ({**GOOD, "presence_penalty": 3}, "presence_penalty"),
        ({**GOOD, "max_tokens": 0}, "max_tokens"),
        ({**GOOD, "max_tokens": 1.5}, "max_tokens"),
        ({**GOOD, "max_completion_tokens": True}, "max_completion_tokens"),
        ({**GOOD, "stop": 5}, "stop"),
        ({**GOOD, "tools": "all"}, "tools"),
        ({**GOOD, "tools": [{}] * 129}, "tools"),
        ({**GOOD, "user": "u" * 513}, "user"),
    ],
)
def test_the_parameter_at_fault_is_named(body: dict[str, Any], param: str) -> None:
    refused = outcome(body)
    assert isinstance(refused, Refused)
    assert refused.status == 400
    # Where several types are allowed, the one that failed follows.
    assert refused.param is not None
    assert f"{refused.param}.".startswith(f"{param}.")
    assert param in refused.message


@given(st.text(min_size=1, max_size=MAX_ID).filter(str.isprintable))
def test_a_printable_id_is_taken_as_it_is(value: str) -> None:
    assert checked_id(value, "session_id") == value
    assert orjson.dumps(value)


@pytest.mark.parametrize("value", ["", "a" * (MAX_ID + 1), "\x00", "a\nb", "\ud800", "\x7f", "\u202e"])
def test_any_other_id_is_refused(value: str) -> None:
    with pytest.raises(Refused) as refused:
        checked_id(value, "session_id")
    assert (refused.value.status, refused.value.param) == (400, "session_id")


def test_what_an_answer_may_cost_counts_text_wherever_it_is_and_media_flat() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    parts = [{"type": "text", "text": "x" * 400}, image, {"type": "text", "text": None}]
    messages = [{"role": "user", "content": parts}, {"role": "user", "content": "x" * 400}, {"role": "assistant"}]
    taken = outcome({"messages": messages, "max_tokens": 10})
    assert isinstance(taken, ChatRequest)
    assert taken.reserved_tokens() == 200 + MEDIA_PART_TOKENS + 10

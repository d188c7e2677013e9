"""What `log` takes: misuse is raised and named, and whatever else is given becomes JSON."""

import datetime
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, strategies

from huggingplace import HuggingPlace, ValidationError
from huggingplace.json_text import LONG_CHARS, MAX_DEPTH, decode, encode
from huggingplace.uuid7 import is_uuid7, uuid7
from tests.unit.huggingplace.conftest import Items


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "user_prompt"),
        ({"user_prompt": None, "response": None}, "user_prompt"),
        ({"user_prompt": "x", "prompt": "y"}, "prompt"),
        ({"user_prompt": "x", "metadata": "y"}, "metadata"),
        ({"user_prompt": "x", "user_metadata": ["y"]}, "user_metadata"),
        ({"user_prompt": "x", "session_id": 5}, "session_id"),
        ({"user_prompt": "x", "session_id": "y" * 257}, "session_id"),
        ({"user_prompt": "x", "token_count": -1}, "token_count"),
        ({"user_prompt": "x", "token_count": {"prompt": "many"}}, "token_count.prompt"),
        ({"user_prompt": "x", "prompt_tokens": True}, "prompt_tokens"),
        ({"user_prompt": "x", "prompt_tokens": 10**12}, "prompt_tokens"),
        ({"user_prompt": "x", "response_time": "fast"}, "response_time"),
        ({"user_prompt": "x", "response_time": math.nan}, "response_time"),
        ({"user_prompt": "x", "step_data": "one"}, "step_data"),
        ({"user_prompt": "x", "tags": "one"}, "tags"),
        ({"user_prompt": "x", "tags": ["t"] * 51}, "tags"),
        ({"user_prompt": "x", "tags": [5]}, "tags.0"),
        ({"user_prompt": "x", "status": "fine"}, "status"),
        ({"user_prompt": "x", "error": 5}, "error"),
        ({"user_prompt": "x", "id": "5"}, "id"),
        ({"user_prompt": "x", "id": str(uuid.uuid4())}, "id"),
        ({"user_prompt": "x", "timestamp": datetime.datetime(2026, 1, 1)}, "timestamp"),  # noqa: DTZ001 - has no zone
        ({"user_prompt": "x", "timestamp": "yesterday"}, "timestamp"),
        ({"user_prompt": "x", "timestamp": 5}, "timestamp"),
        ({"user_prompt": "x", "scores": [1]}, "scores"),
        ({"user_prompt": "x", "scores": {"a": math.inf}}, "value"),
    ],
    ids=str,
)
def test_misuse_is_raised_and_names_what_is_wrong(client: HuggingPlace, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as raised:
        client.log(**fields)
    assert raised.value.param == param
    assert client.counters()["logged"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {"interaction_id": "5", "name": "a", "value": 1},
        {"interaction_id": uuid7(), "name": "", "value": 1},
        {"interaction_id": uuid7(), "name": "a", "value": math.nan},
        {"interaction_id": uuid7(), "name": "a", "value": None},
        {"interaction_id": uuid7(), "name": "a", "value": 1, "comment": 5},
    ],
)
def test_misuse_of_scores_is_raised(client: HuggingPlace, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        client.score(**given)


def test_every_field_has_its_name_on_the_wire(client: HuggingPlace, delivered: Callable[[], Items]) -> None:
    moment = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
    given: dict[str, Any] = {
        "user_prompt": [{"role": "user", "content": "hi"}],
        "response": {"text": "hello"},
        "user_id": "ada",
        "project_id": "p",
        "file_name": "f.txt",
        "llm_model": "gpt",
        "provider": "openai",
        "token_count": 5,
        "cached_tokens": 1,
        "cost_usd": 0.5,
        "step_data": [{"name": "a"}],
        "response_time": 12.5,
        "first_token_ms": 3,
        "tags": ("a", "b"),
        "environment": "e",
        "release": "r",
        "prompt_version": "v",
        "trace_id": "t",
        "finish_reason": "stop",
    }
    logged = client.log(**given, timestamp=moment, metadata={"a": 1}, user_metadata={"b": 2}, error=ValueError("no"))
    [item] = delivered()
    expected = {**given, "ai_response": given["response"], "tags": ["a", "b"]}
    del expected["response"]
    assert item == {
        **expected,
        "id": logged,
        "metaData": {"a": 1},
        "user_meta_data": {"b": 2},
        "timestamp": moment.timestamp(),
        "error": {"type": "ValueError", "message": "no"},
        "org_id": "acme",
        "mode": "prod",
    }
    # The server wants the time in an id to be that of the interaction.
    assert abs(int(logged.replace("-", "")[:12], 16) / 1000 - moment.timestamp()) < 1


def test_a_score_belongs_to_its_interaction(client: HuggingPlace, delivered: Callable[[], Items]) -> None:
    logged = client.log(user_prompt="x", scores={"good": True})
    client.score(logged, "stars", 4, comment="nice", source="user")
    _, first, second = delivered()
    assert (first["kind"], first["interaction_id"], first["name"], first["value"]) == ("score", logged, "good", True)
    assert (second["value"], second["comment"], second["source"]) == (4, "nice", "user")


def test_ids_sort_by_time_and_are_never_the_same() -> None:
    ids = [uuid7() for _ in range(10_000)]
    assert len(set(ids)) == 10_000
    assert all(is_uuid7(each) and uuid.UUID(each).version == 7 for each in ids)
    assert ids[0][:13] <= ids[-1][:13]


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: Any


class Odd:
    """Its `repr` tells what nobody should see."""

    def __repr__(self) -> str:
        return "password=hunter2"


def test_values_that_json_does_not_have_are_written_as_close_as_can_be() -> None:
    strange: dict[Any, Any] = {
        "nan": math.nan,
        "colour": Colour.RED,
        "point": Point(1, Point(2, None)),
        "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        "price": decimal.Decimal("1.50"),
        "bytes": b"abc",
        "set": {1},
        "odd": Odd(),
        "huge": 10**5000,
        "surrogate": "a\ud800b",
        "nul": "a\x00b",
        5: {None: 1},
    }
    found = decode(encode(strange))
    assert found == {
        "nan": None,
        "colour": "red",
        "point": {"x": 1, "y": {"x": 2, "y": None}},
        "when": "2026-01-01T00:00:00+00:00",
        "price": "1.50",
        "bytes": "<3 bytes>",
        "set": [1],
        "odd": f"<{__name__}.Odd>",
        "huge": "<an integer of 16610 bits>",
        "surrogate": "a?b",
        "nul": "a\ufffdb",
        "5": {"None": 1},
    }


def test_what_is_too_deep_or_contains_itself_is_misuse(client: HuggingPlace) -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    endless: dict[str, Any] = {}
    endless["self"] = endless
    for value in (deep, endless):
        with pytest.raises(ValidationError):
            client.log(user_prompt="x", metadata={"value": value})


texts = strategies.text(strategies.characters(exclude_categories=()), max_size=20)
values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | texts,
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def clean(text: str) -> str:
    """As texts arrive: without what UTF-8 or a database does not have."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def cleaned(value: Any) -> Any:
    return {name: cleaned(inner) for name, inner in value.items()} if isinstance(value, dict) else clean(value)


@given(texts, texts, strategies.integers(0, 2))
def test_a_long_text_is_written_as_a_short_one(text: str, other: str, copies: int) -> None:
    long = text * (LONG_CHARS // max(len(text), 1) + 1) + "."
    item: dict[str, Any] = {f"{other}{number}": long for number in range(copies)}
    item["user_prompt"] = long
    for kept in (item, {**item, "short": other}, {"nested": {"long": long}, **item}):
        found = decode(encode(kept))
        assert found == {clean(name): cleaned(value) for name, value in kept.items()}


@given(strategies.dictionaries(texts, values, max_size=5))
def test_whatever_is_given_is_one_line_of_json(given: dict[str, Any]) -> None:
    body = encode(given)
    assert b"\n" not in body
    assert b"\x00" not in body
    assert isinstance(json.loads(body), dict)

"""What may be stored is decided by the body alone, with the field named, and whatever it is."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.resource_terms import Kind
from common.failures import Refused
from resources.catalogue import validation
from resources.catalogue.config_references import references
from resources.catalogue.tool_parameters import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH

DOCS = Path(__file__).parents[3] / "docs"
KINDS: tuple[Kind, ...] = ("prompt", "config", "tool", "voice")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FIELDS = sorted({name for model in validation.NEW.values() for name in model.model_fields})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(FIELDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)
BODY = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)


@given(st.sampled_from(KINDS), BODY, st.sampled_from([validation.new_resource, validation.new_version]))
def test_any_body_is_refused_plainly_or_can_be_stored(
    kind: Kind, body: dict[str, Any], check: Callable[[Kind, dict[str, Any]], dict[str, Any]]
) -> None:
    outcome = kept_or_refused(lambda: check(kind, body))
    if isinstance(outcome, Refused):
        assert outcome.status == 400
        assert outcome.code in ("invalid_value", "missing_required_parameter")
        assert outcome.message
        return
    assert "\0" not in orjson.dumps(outcome).decode()
    assert check(kind, outcome) == outcome


def kept_or_refused(check: Callable[[], dict[str, Any]]) -> dict[str, Any] | Refused:
    try:
        return check()
    except Refused as refused:
        return refused


@pytest.mark.parametrize("given", [SCHEMA, orjson.dumps(SCHEMA).decode(), ' {"type":  "object"}\n'])
def test_the_parameters_of_a_tool_stay_the_text_they_came_as(given: Any) -> None:
    kept = validation.new_resource("tool", {"name": "t", "parameters": given})["parameters"]
    assert kept == (given if isinstance(given, str) else orjson.dumps(given).decode())


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels - 1):
        schema = {"type": "object", "additionalProperties": schema}
    return schema


def padded(size: int) -> str:
    text = '{"type": "object", "description": "%s"}'
    return text % ("d" * (size - len(text) + 2))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (nested(MAX_SCHEMA_DEPTH), None),
        (nested(MAX_SCHEMA_DEPTH + 1), "nested deeper"),
        (padded(MAX_SCHEMA_BYTES), None),
        (padded(MAX_SCHEMA_BYTES + 1), "at most"),
        ({**SCHEMA, "$schema": "http://json-schema.org/draft-07/schema#"}, None),
        ({**SCHEMA, "$schema": "http://json-schema.org/draft-03/schema#"}, "draft"),
        ({**SCHEMA, "$schema": ["unhashable"]}, "draft"),
        ({**SCHEMA, "$defs": {"a": {"type": "string"}}, "required": ["city"]}, None),
        ({**SCHEMA, "properties": {"a": {"$ref": "#/$defs/a"}}}, None),
        ({**SCHEMA, "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "other.json"}}}, "outside itself"),
        ({**SCHEMA, "$dynamicRef": "https://example.com/s#a"}, "outside itself"),
        ({**SCHEMA, "required": "city"}, "no valid JSON Schema"),
        ({**SCHEMA, "properties": {"a": {"pattern": "a{99999999999999}"}}}, "no valid JSON Schema"),
        ({**SCHEMA, "properties": {"a": {"pattern": "(" * 5000 + ")" * 5000}}}, "no valid JSON Schema"),
        ({**SCHEMA, "patternProperties": {"(" * 5000 + ")" * 5000: {}}}, "no valid JSON Schema"),
        ({**SCHEMA, "properties": {"a": {"pattern": "a{2,1}"}}}, "no valid JSON Schema"),
        ({"type": ["object"]}, "type 'object'"),
        ({"properties": {}}, "type 'object'"),
        (True, "as a string or an object"),
        ("true", "a JSON object"),
        ("{'type': 'object'}", "valid JSON"),
        ('{"type": "object", "description": "\ud800"}', "valid JSON"),
    ],
)
def test_a_schema_is_valid_bounded_and_complete_in_itself(parameters: Any, reason: str | None) -> None:
    body = {"name": "t", "parameters": parameters}
    if reason is None:
        assert validation.new_resource("tool", body)
        return
    with pytest.raises(Refused) as refused:
        validation.new_resource("tool", body)
    assert refused.value.param == "parameters"
    assert reason in refused.value.message


FULL_CONFIG: dict[str, Any] = {
    "name": "front desk",
    "evi_version": "4-mini",
    "prompt": {"id": "11111111-1111-4111-8111-111111111111", "version": 0, "prompt_expansion": {"enabled": True}},
    "voice": {"provider": "CUSTOM_VOICE", "id": "voice-1"},
    "language_model": {
        "model_provider": "CUSTOM_LANGUAGE_MODEL",
        "model_resource": "https://sonant.example/chat/completions",
        "temperature": 1,
    },
    "ellm_model": {"allow_short_responses": True},
    "tools": [{"id": "tool-1", "version": 3}, {"id": "tool-2"}],
    "builtin_tools": [{"name": "web_search", "fallback_content": "Nothing found."}, {"name": "hang_up"}],
    "event_messages": {"on_new_chat": {"enabled": True, "text": "Hello"}},
    "timeouts": {"inactivity": {"enabled": True, "duration_secs": 600}, "max_duration": {"enabled": False}},
    "nudges": {"enabled": True, "interval_secs": 30},
    "turn_detection": {
        "end_of_turn_silence_ms": 800,
        "prefix_padding_ms": 300,
        "speech_detection_threshold": 0.5,
    },
    "interruption": {"min_interruption_ms": 800},
    "prosody": {"template": "(Sounds {scores})", "number": 5, "tokens": 60},
    "webhooks": [{"url": "https://sonant.example/webhooks/hume", "events": ["chat_started", "tool_call"]}],
    "version_description": "everything",
}


def test_a_config_with_every_part_is_kept_as_it_is_and_tells_what_it_names() -> None:
    kept = validation.new_resource("config", FULL_CONFIG)
    assert kept == FULL_CONFIG
    named = [(it.kind, it.id, it.version, it.param) for it in references(kept)]
    assert named == [
        ("prompt", FULL_CONFIG["prompt"]["id"], 0, "prompt"),
        ("voice", "voice-1", None, "voice"),
        ("tool", "tool-1", 3, "tools.0"),
        ("tool", "tool-2", None, "tools.1"),
    ]


def test_a_summary_of_prosody_has_defaults_and_bounds() -> None:
    bare = {"name": "n", "evi_version": "3"}
    assert validation.new_resource("config", {**bare, "prosody": {}})["prosody"] == {
        "template": "(They sound: {scores}.)",
        "number": 3,
        "tokens": 40,
    }
    for field, value in (("template", "no place"), ("number", 0), ("tokens", 401)):
        with pytest.raises(Refused) as refused:
            validation.new_resource("config", {**bare, "prosody": {field: value}})
        assert refused.value.param == f"prosody.{field}"


def test_the_model_for_questions_is_named_as_an_alias_is() -> None:
    [block] = re.findall(r"```json\n(.*?)```", (DOCS / "talk-time.md").read_text(), flags=re.DOTALL)
    kept = validation.new_resource("config", orjson.loads(block))
    assert kept["retrieval"] == {"question_model": "cheap", "deadline_secs": 1}
    for named in ("", "a name", "x" * 201, 3, ["cheap"], "cheap\0"):
        with pytest.raises(Refused) as refused:
            validation.new_resource("config", {**kept, "retrieval": {"question_model": named}})
        assert refused.value.param == "retrieval.question_model"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None, "version": None, "description": None},
        {"name": "a", "version": None, "description": "b"},
        {"name": None, "version": None, "description": "b"},
        {"name": "a\n", "version": None, "description": None},
        {"name": None, "version": 0, "description": "\0"},
    ],
)
def test_an_edit_says_one_thing(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        validation.edit("prompt", **fields)
    assert refused.value.status == 400

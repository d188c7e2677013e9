"""The rules for drafted tools: everything hostile is refused for its reason, honest tools pass, no input breaks it."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from resources.drafting.judge import MAX_DRAFT_CHARS, MAX_REASONS, MEMBERS, Verdict, judge, judge_tool
from resources.drafting.rules import names, patterns, samples, texts
from resources.drafting.rules.reasons import CODES
from tests.support.sonant import ROOT

DATA = ROOT / "tests" / "data" / "tool_drafts"
HOSTILE: list[dict[str, Any]] = json.loads((DATA / "hostile.json").read_text())
HONEST: list[dict[str, Any]] = json.loads((DATA / "honest.json").read_text())
HONEST_TEXTS: list[str] = json.loads((DATA / "honest_texts.json").read_text())
# What a case of the corpus changes about an honest tool.
TOOL: dict[str, Any] = {
    "name": "get_weather_data",
    "description": "Looks up the weather.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "date": {"type": "string"}},
        "required": ["location"],
    },
    "fallback_content": "The weather service is away.",
}


def raw_of(case: dict[str, Any]) -> str:
    """What the model answers in a case: given as it is, or as members that replace an honest tool's or are left out."""
    if "raw" in case:
        return str(case["raw"])
    tool = {**TOOL, **case.get("draft", {})}
    return json.dumps({name: value for name, value in tool.items() if name not in case.get("without", ())})


def judged(case: dict[str, Any]) -> Verdict:
    return judge(raw_of(case), inputs=case.get("inputs", ()), taken=case.get("taken", ()))


def codes(verdict: Verdict) -> set[str]:
    return {reason.code for reason in verdict.reasons}


def changed(**members: Any) -> str:
    return json.dumps({**TOOL, **members})


def with_property(schema: Any) -> str:
    properties = {**TOOL["parameters"]["properties"], "extra": schema}
    return changed(parameters={**TOOL["parameters"], "properties": properties})


class TestCorpus:
    @pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["case"])
    def test_a_hostile_or_broken_draft_is_refused_for_its_reason(self, case: dict[str, Any]) -> None:
        assert case["code"] in codes(judged(case))

    @pytest.mark.parametrize("case", HONEST, ids=lambda case: case["draft"]["name"])
    def test_an_honest_draft_passes(self, case: dict[str, Any]) -> None:
        verdict = judge(json.dumps(case["draft"]), inputs=case["inputs"], taken=["find_invoice"])
        assert verdict.reasons == ()
        assert verdict.draft is not None
        assert verdict.draft.name == case["draft"]["name"]

    @pytest.mark.parametrize("text", HONEST_TEXTS)
    def test_an_honest_text_passes(self, text: str) -> None:
        assert list(texts.faults(text)) == []

    def test_it_is_large_and_every_reason_is_in_it(self) -> None:
        made_here = {"draft_too_large", "schema_too_large", "too_dear"}
        assert {case["code"] for case in HOSTILE} == set(CODES) - made_here
        assert len({case["case"] for case in HOSTILE}) == len(HOSTILE) >= 50
        assert len(HONEST) >= 20

    @pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["case"])
    def test_a_reason_repeats_nothing_the_draft_says(self, case: dict[str, Any]) -> None:
        """Reasons go back to a model and to the caller: they must not carry an instruction on."""
        for reason in judged(case).reasons:
            assert not any(texts.faults(reason.message.removeprefix("description")))
            assert len(reason.message) < 400


def test_the_guide_lists_every_code() -> None:
    guide = (ROOT / "docs" / "drafted-tools.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", guide, re.MULTILINE) == list(CODES.items())


class TestSizes:
    def test_a_schema_of_a_megabyte_is_refused_before_it_is_read(self) -> None:
        properties = {f"p{index}": {"type": "string", "description": "x" * 1000} for index in range(1000)}
        raw = changed(parameters={"type": "object", "properties": properties})
        assert len(raw) > 1_000_000
        assert codes(judge(raw)) == {"draft_too_large"}

    def test_a_schema_may_be_too_large_where_the_draft_is_not(self) -> None:
        raw = with_property({"type": "string", "description": "x" * 20_000})
        assert codes(judge(raw)) == {"schema_too_large"}

    @pytest.mark.parametrize("opening", ["[", "{", '{"a":', '[{"a":'])
    def test_depth_is_refused_before_it_is_read(self, opening: str) -> None:
        assert codes(judge(opening * 10_000)) & {"too_nested", "draft_too_large"}

    def test_brackets_in_strings_are_no_depth(self) -> None:
        assert judge(changed(fallback_content="[" * 60)).reasons == ()

    def test_reasons_are_bounded(self) -> None:
        hostile = {f"p {index}": {"type": "nothing", "pattern": "("} for index in range(100)}
        assert len(judge(changed(parameters={"type": "object", "properties": hostile})).reasons) <= MAX_REASONS


class TestNames:
    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("web_search", "websearch"),
            ("l00kup_order", "lookup_order"),
            ("order_lookup", "lookup_order"),
            ("lookup_ordr", "lookup_order"),
            ("lookup_oredr", "lookup_order"),
            ("lookup_orders", "lookup_order"),
        ],
    )
    def test_look_alikes_are_taken_for_one_another(self, name: str, other: str) -> None:
        assert names.taken_for(name, other)
        assert names.taken_for(other, name)

    @pytest.mark.parametrize(
        ("name", "other"),
        [("get_weather", "get_wind"), ("book_table", "cook_tables"), ("pay", "say"), ("lookup_order", "cancel_order")],
    )
    def test_other_names_are_not(self, name: str, other: str) -> None:
        assert not names.taken_for(name, other)

    def test_an_input_is_found_under_the_name_it_was_given(self) -> None:
        for asked, name in (("Due Date", "due_date"), ("caf\u00e9", "cafe"), ("userId", "user_id")):
            assert names.same_word(asked, name)


class TestStoredTools:
    def test_a_stored_tool_is_judged_like_a_draft(self) -> None:
        content = {"parameters": json.dumps(TOOL["parameters"]), "description": "x", "fallback_content": "y"}
        assert judge_tool("get_weather_data", content) == ()
        assert {reason.code for reason in judge_tool("hang_up", content)} == {"name_builtin"}
        assert {reason.code for reason in judge_tool("a_tool", {**content, "parameters": "{"})} == {"not_json"}
        assert {reason.code for reason in judge_tool("a_tool", {**content, "parameters": "[]"})} == {"member_type"}


class TestPatterns:
    @pytest.mark.parametrize(
        "pattern",
        [
            r"^\d{4}-\d{2}-\d{2}$",
            r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
            r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
            r"^\+?[1-9]\d{1,14}$",
            r"^(?:red|green|blue)$",
            r"^([01]\d|2[0-3]):[0-5]\d$",
            r"^\S+ \S+ \S+$",
            r"^(\d{3}-)+\d$",
            "^$",
        ],
    )
    def test_plain_ones_are_harmless_and_have_a_sample(self, pattern: str) -> None:
        assert patterns.fault(pattern) is None
        assert re.search(pattern, patterns.sample(pattern))

    @pytest.mark.parametrize(
        "pattern",
        ["(a+)+$", "(a|a)*b", "(.*)*", ".*.*.*x", r"(\w+\s?)+$", "(a{1,50}){1,50}", "(x+x+)+y", "a*a*a*", "(a?){30}"],
    )
    def test_those_that_backtrack_are_found(self, pattern: str) -> None:
        assert patterns.fault(pattern) == "pattern_backtracks"

    @given(st.text(alphabet="ab.*+?{}()[]|^$\\d12,-", max_size=30))
    @example("[[a]")
    @example("a{99999}")
    def test_one_that_is_let_through_comes_to_an_end_on_any_input(self, pattern: str) -> None:
        """The worst inputs are long runs that fail at their end; the timeout of the test is the judge."""
        if patterns.fault(pattern) is None:
            for run in ("a", "b", "ab", "1", "a1"):
                re.search(pattern, run * 200 + "\x00")


class TestSamples:
    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "integer", "minimum": 3, "multipleOf": 5},
            {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
            {"type": "number", "maximum": -7},
            {"type": "string", "minLength": 12, "maxLength": 12},
            {"type": "string", "pattern": "^[a-f]{4,8}$", "minLength": 6},
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
            {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
            {"anyOf": [{"type": "null"}, {"type": "string"}]},
            {"type": ["boolean", "null"]},
            {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False},
        ],
    )
    def test_fit_what_is_asked_of_them(self, schema: dict[str, Any]) -> None:
        whole = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
        assert list(samples.judged(whole)) == []
        assert not Draft202012Validator(whole).is_valid({})

    @pytest.mark.parametrize(
        "schema", [{"type": "integer", "minimum": 2, "maximum": 1}, {"type": "string", "minLength": 10**9}]
    )
    def test_are_not_made_up_where_there_are_none(self, schema: dict[str, Any]) -> None:
        assert codes(judge(with_property(schema))) == {"sample_invalid"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "default",
        "examples",
        "pattern",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "additionalProperties",
        "anyOf",
        "oneOf",
        "$ref",
        "$defs",
        "$schema",
        "$id",
        "format",
        "title",
        "description",
    ]
)
VALUES = JSON | st.sampled_from(
    ["object", "string", "integer", "array", "#/$defs/a", "#", ["string"], ["a"], {"a": {}}]
)
SCHEMAS = st.recursive(
    st.dictionaries(KEYWORDS, VALUES, max_size=4),
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array", "string"])},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "$defs": st.dictionaries(st.just("a"), inner, max_size=1),
            "required": st.lists(st.sampled_from(["a", "b"]), max_size=2),
        },
    ),
    max_leaves=8,
)


def settled(verdict: Verdict) -> None:
    """A verdict says something, in the codes there are."""
    assert codes(verdict) <= set(CODES)
    assert verdict.reasons or verdict.draft is not None


class TestAnyInput:
    @given(st.text())
    @example("\ud800")
    @example("9" * 5_000)
    @example("[" * MAX_DRAFT_CHARS)
    @example('"' + "\\" * 1_001)
    @example('"' + '\\"' * (MAX_DRAFT_CHARS // 2 - 1))
    def test_any_text_gets_a_verdict(self, raw: str) -> None:
        settled(judge(raw))

    @given(JSON)
    def test_any_document_gets_a_verdict(self, document: Any) -> None:
        settled(judge(json.dumps(document)))

    @given(st.fixed_dictionaries(dict.fromkeys(MEMBERS, JSON)))
    def test_any_members_get_a_verdict(self, document: Any) -> None:
        settled(judge(json.dumps(document), inputs=["a", "\u65e5"], taken=["a_tool", ""]))

    @given(JSON | SCHEMAS)
    def test_any_parameters_get_a_verdict(self, parameters: Any) -> None:
        settled(judge(changed(parameters=parameters)))

    @given(JSON | SCHEMAS)
    def test_any_property_gets_a_verdict(self, schema: Any) -> None:
        settled(judge(with_property(schema)))

    @given(st.text(max_size=1_000), st.text(max_size=1_000))
    @example("a " * 500, "ignore " * 140)
    @example("(" * 1_000, "a.b-" * 250)
    def test_any_texts_get_a_verdict(self, name: str, description: str) -> None:
        settled(judge(changed(name=name, description=description, fallback_content=name)))

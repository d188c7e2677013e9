"""Variables in texts: what is one, what it is filled with, and that nothing is filled twice or takes long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.prompt_variables import (
    MAX_FILLED_CHARS,
    NAME,
    FilledTooLong,
    UnknownVariable,
    filled,
    variables_in,
    written,
)

NAMES = st.from_regex(NAME, fullmatch=True)
# What templates are made of, so that braces meet in every way.
PIECES = st.lists(
    st.sampled_from(["{", "}", "{{", "}}", "\\", " ", "\t", "a", "name", "1", "é", "\n", '"']), max_size=40
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hi {{name}}, it is {{ now }}.", {"name", "now"}),
        ('Answer as {"a": {"b": 1}} or {{"a": 1}}.', set()),
        ("{{}} {{ }} {{1a}} {{a b}} {{#if a}} {{a.b}} {{a-b}} { {a} } {a} {{a}", set()),
        ("{{{name}}}", {"name"}),
        ("{{a\nb}} {{\na}}", set()),
        (r"Write \{{name}} so.", set()),
        ("{{" + "a" * 65 + "}}", set()),
    ],
)
def test_a_variable_is_a_name_in_double_braces(text: str, names: set[str]) -> None:
    assert variables_in(text) == names


def test_each_variable_is_filled_and_everything_else_stands() -> None:
    text = r'{{greeting}} {{name}}! {"json": {{"a": 1}}} \{{name}} {{{name}}}'
    assert filled(text, {"greeting": "Hello", "name": "Ada"}) == 'Hello Ada! {"json": {{"a": 1}}} {{name}} {Ada}'


def test_what_a_variable_is_filled_with_is_no_template() -> None:
    values = {"a": "{{b}}", "b": "{{a}}", "c": r"\1 \g<0> \\"}
    assert filled("{{a}}{{b}}{{c}}", values) == "{{b}}{{a}}" + r"\1 \g<0> \\"
    # Not even where values and text meet.
    assert filled("{{{a}}b}}", {"a": "{"}) == "{{b}}"


def test_what_nothing_fills_is_named() -> None:
    with pytest.raises(UnknownVariable) as error:
        filled("{{known}} {{unknown}}", {"known": ""})
    assert error.value.name == "unknown"


def test_a_text_that_grows_out_of_bounds_is_refused_before_it_is_made() -> None:
    with pytest.raises(FilledTooLong):
        filled("{{a}}" * 20_000, {"a": "x" * 10_000})
    assert len(filled("{{a}}", {"a": "x" * MAX_FILLED_CHARS})) == MAX_FILLED_CHARS
    with pytest.raises(FilledTooLong):
        filled("{{a}}.", {"a": "x" * MAX_FILLED_CHARS})


@pytest.mark.parametrize(
    "text", ["{" * 1_000_000, "{{ " * 300_000, "{{a" * 300_000, "\\{{" * 300_000, "{{a }" * 200_000]
)
def test_a_megabyte_of_braces_costs_its_length(text: str) -> None:
    began = time.perf_counter()
    assert variables_in(text) == frozenset()
    assert time.perf_counter() - began < 1.0


@given(PIECES, st.dictionaries(NAMES, st.text(max_size=20), max_size=5))
def test_any_text_is_filled_whole_or_a_variable_is_named(pieces: list[str], values: dict[str, str]) -> None:
    text = "".join(pieces)
    names = variables_in(text)
    if names <= values.keys():
        filled(text, values)
    else:
        with pytest.raises(UnknownVariable) as error:
            filled(text, values)
        assert error.value.name in names


@given(st.lists(st.tuples(st.text("abc {}\n"), NAMES), max_size=8), st.text("xyz{}\\ ", max_size=10))
def test_a_text_is_what_its_pieces_are(parts: list[tuple[str, str]], value: str) -> None:
    """With single braces taken out of the pieces, so that they begin no variable of their own."""
    pieces = [(before.replace("{", "").replace("}", ""), name) for before, name in parts]
    text = "".join(f"{before}{{{{{name}}}}}" for before, name in pieces)
    values = {name: value for _, name in pieces}
    assert filled(text, values) == "".join(before + value for before, _ in pieces)
    assert variables_in(text) == values.keys()


def test_values_are_written_as_json_has_them() -> None:
    assert [written(value) for value in ("x", True, False, 3, 3.0, 2.5)] == ["x", "true", "false", "3", "3", "2.5"]

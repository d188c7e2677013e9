"""Scores are read from whatever a message holds, told again as they were, and summed up within a budget."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from common.dialects.prosody import (
    MAX_SCORES,
    MAX_UTTERANCES,
    last_scores,
    scores_of,
    summary,
    utterances,
    with_summary,
)
from common.events.token_estimate import content_tokens

JOY = {"Joy": 0.6}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NAMES = st.text(max_size=120)
SCORES = st.dictionaries(NAMES, st.floats(0, 1), max_size=60)


def said(scores: Any, role: str = "user", **members: Any) -> dict[str, Any]:
    return {"role": role, "content": "hi", "models": {"prosody": {"scores": scores}}, **members}


def test_numbers_are_scores_and_nothing_else_is() -> None:
    given = {"Joy": 0.6, "Awe": 1, "Fear": True, "Anger": None, "Envy": "0.5", "": 0.5, "Pain": float("nan")}
    assert scores_of(said({**given, "Pride": float("inf"), "Guilt": 10**400})) == {"Joy": 0.6, "Awe": 1.0}


def test_more_names_than_the_platform_has_are_fine_up_to_a_bound() -> None:
    assert len(scores_of(said({f"name {number}": 0.5 for number in range(60)}))) == 60
    assert len(scores_of(said({f"name {number}": 0.5 for number in range(1000)}))) == MAX_SCORES


@given(SCALARS | st.lists(SCALARS) | st.dictionaries(st.sampled_from(["models", "prosody", "scores"]), SCALARS))
def test_a_message_without_scores_has_none(odd: Any) -> None:
    for message in (
        odd,
        {"models": odd},
        {"models": {"prosody": odd}},
        said(odd if not isinstance(odd, dict) else None),
    ):
        assert scores_of(message) == {}


def test_the_last_scores_stand_until_there_are_others() -> None:
    assert last_scores([said({"Awe": 1.0}), said(JOY), {"role": "assistant"}, said(None), {"role": "user"}]) == JOY
    assert last_scores([{"role": "user"}]) == {}


def test_the_utterances_of_a_turn_are_those_behind_the_assistant() -> None:
    messages = [
        said(JOY),
        said(JOY, "assistant"),
        said({"Awe": 1.0}, time={"begin": 1, "end": 2}),
        said(None),
        said(JOY),
    ]
    first, second = utterances(messages)
    assert (first.scores, first.begin_ms, first.end_ms) == ({"Awe": 1.0}, 1.0, 2.0)
    assert (second.scores, second.begin_ms, second.end_ms) == (JOY, None, None)
    assert utterances([said(JOY), {"role": "assistant"}]) == ()
    assert len(utterances([said(JOY)] * 100)) == MAX_UTTERANCES


def test_the_strongest_are_summed_up() -> None:
    scores = {"Joy": 0.2, "Awe": 0.7, "Pain": 0.0, "Anger": 0.2}
    assert summary(scores, "(Sounds: {scores}.)", 2, 40) == "(Sounds: Awe 0.70, Anger 0.20.)"
    assert summary(scores, "(Sounds: {scores}.)", 9, 7) == "(Sounds: Awe 0.70.)"
    assert summary(scores, "(Sounds: {scores}.)", 9, 2) == ""
    assert summary({"Pain": 0.0}, "{scores}", 3, 40) == ""


@given(SCORES, st.text(max_size=80), st.integers(1, 10), st.integers(0, 60))
def test_a_summary_keeps_to_its_budget(scores: dict[str, float], template: str, most: int, tokens: int) -> None:
    assert content_tokens([summary(scores, template + "{scores}", most, tokens)]) <= tokens


def test_a_template_means_nothing_but_its_place() -> None:
    assert summary(JOY, "{0.__class__} {scores} {{x}} {other}", 3, 40) == "{0.__class__} Joy 0.60 {{x}} {other}"


def test_the_summary_follows_what_the_user_said_last() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    before = orjson.dumps(messages)
    assert with_summary(messages, "(c)") == [{"role": "user", "content": "a\n\n(c)"}, messages[1]]
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    assert with_summary(parts, "(c)")[0]["content"][-1] == {"type": "text", "text": "(c)"}
    assert with_summary([{"role": "system", "content": "a"}], "(c)") == [{"role": "system", "content": "a"}]
    assert orjson.dumps(messages) == before

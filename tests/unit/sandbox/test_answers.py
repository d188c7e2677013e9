"""The stand-in answers from the conversation, and always the same."""

from typing import Any

import orjson
import pytest

from sandbox.openai.answer_rules import answer, remainder
from sandbox.openai.conversation import read
from sandbox.openai.embeddings import vector
from sandbox.openai.text import pieces, regroup
from sandbox.openai.tools import ToolCall, choose, fill

DOCUMENTS = (
    "You are a friendly assistant. Answer from the documents.\n"
    "[1] Our refund window is 30 days from delivery.\n"
    "[2] Shipping to Norway takes five working days. Express shipping costs 20 euros.\n"
    "[3] The office is closed on Sundays."
)
WEATHER = {
    "name": "get_weather",
    "description": "Current weather for a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer"},
        },
        "required": ["city"],
    },
}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def _say(*messages: dict[str, Any], seed: int = 0) -> str:
    return answer(read(messages), seed)


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("How long is the refund window?", "30 days"),
        ("How long does shipping to Norway take?", "five working days"),
        ("Is the office open on a Sunday?", "closed on Sundays"),
    ],
)
def test_it_answers_from_supplied_documents(question: str, fact: str) -> None:
    assert fact in _say(_system(DOCUMENTS), _user(question))


def test_it_does_not_recite_documents_that_do_not_bear_on_the_question() -> None:
    text = _say(_system(DOCUMENTS), _user("Write a poem about mountains"))
    assert "mountains" in text
    assert "refund" not in text


def test_it_remembers_a_name() -> None:
    turns = (_user("My name is Ada."), _assistant("Nice to meet you."), _user("What's my name?"))
    assert _say(*turns) == "Your name is Ada."


def test_it_remembers_what_it_was_told() -> None:
    turns = (_user("My dog is called Rex."), _assistant("Lovely."), _user("What is my dog called?"))
    assert _say(*turns) == "You told me that your dog is called Rex."


def test_it_greets() -> None:
    assert _say(_user("Hello!")).startswith("Hello!")


@pytest.mark.parametrize(
    ("question", "result"), [("What is 12 times (3 + 4)?", "84"), ("17 plus 25", "42"), ("10 / 4", "2.5")]
)
def test_it_does_simple_arithmetic(question: str, result: str) -> None:
    assert _say(_user(question)).endswith(f"is {result}.")


@pytest.mark.parametrize(
    "said", ["Do you offer 24/7 support?", "What is 24/7 support?", "Call 555-1234", "What was on 2024-10-12?"]
)
def test_not_every_number_is_a_sum(said: str) -> None:
    assert said.rstrip("?") in _say(_user(said))


def test_a_long_sum_is_just_talk() -> None:
    assert _say(_user("What is " + "1+" * 5_000 + "1"))


def test_a_name_within_a_longer_question_does_not_replace_the_answer() -> None:
    said = _user("My name is Ada and I would like to know: how long is the refund window?")
    assert "30 days" in _say(_system(DOCUMENTS), said)


def test_division_by_zero_is_just_talk() -> None:
    assert "1 / 0" in _say(_user("What is 1 / 0 then"))


def test_the_seed_varies_the_wording_and_nothing_else_does() -> None:
    said = _user("I had a long day at work")
    assert len({_say(said, seed=seed) for seed in range(20)}) > 1
    assert _say(said, seed=3) == _say(said, seed=3)


@pytest.mark.parametrize("cut", [0, 1, 17, 40])
def test_a_continuation_adds_exactly_what_is_missing(cut: int) -> None:
    said = _user("Tell me about the history of the bicycle")
    whole = _say(said)
    begun = read([said, _assistant(whole[:cut]), _system("Continue exactly where the text stops.")])
    assert whole[:cut] + remainder(answer(begun, 0), begun.prefix) == whole


def test_a_foreign_beginning_is_not_repeated() -> None:
    begun = read([_user("Tell me about bicycles"), _assistant("Bicycles are")])
    assert not remainder(answer(begun, 0), begun.prefix).startswith("Bicycles are")


def test_a_tool_result_is_used() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": '{"temperature": 18, "sky": "cloudy"}'}
    assert "temperature 18, sky cloudy" in _say(_user("Weather?"), asked, result)


def _calls(said: str, **options: Any) -> list[ToolCall]:
    body = {"tools": [{"type": "function", "function": WEATHER}], **options}
    return choose(body, read([_user(said)]), "salt")


def test_a_matching_message_calls_the_tool_with_arguments_from_it() -> None:
    (call,) = _calls("What is the weather in Paris for 3 days, in celsius?")
    assert orjson.loads(call.arguments) == {"city": "Paris", "unit": "celsius", "days": 3}
    assert "".join(call.argument_pieces()) == call.arguments


def test_other_messages_call_nothing_unless_forced() -> None:
    assert _calls("Hello there") == []
    assert _calls("What is the weather?", tool_choice="none") == []
    assert len(_calls("Hello there", tool_choice="required")) == 1


def test_required_properties_get_valid_values_without_evidence() -> None:
    schema = {
        "type": "object",
        "properties": {
            "level": {"enum": ["low", "high"]},
            "count": {"type": "integer", "minimum": 2},
            "tags": {"type": "array", "items": {"type": "string"}},
            "flag": {"type": "boolean"},
            "inner": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
            "optional": {"type": "string"},
        },
        "required": ["level", "count", "tags", "flag", "inner"],
    }
    expected = {"level": "low", "count": 2, "tags": ["hi"], "flag": False, "inner": {"a": None}}
    assert fill(schema, "hi") == expected


def test_pieces_and_groups_lose_nothing() -> None:
    text = " héllo  wörld,\nsupercalifragilisticexpialidocious 🎉 "
    parts = pieces(text)
    assert "".join(parts) == text
    assert "".join(regroup(parts, 3)) == text
    assert len(regroup(parts, 3)) == 3


def test_texts_that_share_words_lie_closer_together() -> None:
    def cosine(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(vector(one, 384), vector(other, 384), strict=True))

    assert cosine("the refund window", "refund windows are long") > cosine("the refund window", "a blue bicycle")
    assert cosine("same text", "same text") == pytest.approx(1.0, abs=1e-5)

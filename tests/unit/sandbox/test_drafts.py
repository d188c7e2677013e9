"""The stand-in drafts tools that are of use, always the same, and bad ones on request."""

from typing import Any

import orjson
import pytest

from resources.drafting.judge import judge
from sandbox.openai.conversation import read
from sandbox.openai.drafts import draft

WEATHER = {
    "description": "Tool to fetch weather data",
    "inputs": ["location", "date"],
    "outputs": ["temperature", "conditions"],
}


def drafted(brief: dict[str, Any], *repairs: str, model: str = "sandbox") -> str:
    """What is answered to a brief and then to each request for a repair."""
    said = [{"role": "system", "content": "Draft."}, {"role": "user", "content": orjson.dumps(brief).decode()}]
    for repair in repairs:
        said += [{"role": "assistant", "content": "{}"}, {"role": "user", "content": repair}]
    text = draft(read(said), model)
    assert text is not None
    return text


def test_a_tool_is_drafted_from_what_it_is_for() -> None:
    tool = orjson.loads(drafted(WEATHER))
    assert tool["name"] == "get_weather_data"
    assert tool["parameters"]["required"] == ["location", "date"]
    assert tool["parameters"]["properties"]["date"]["format"] == "date"
    assert tool["description"] == "Tool to fetch weather data. Returns temperature and conditions."
    assert drafted(WEATHER) == drafted(WEATHER)


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("Books a table in a restaurant", "create_table_restaurant"),
        ("Send a text message to a contact", "send_text_message_contact"),
        ("A function that can look up the price of a stock", "get_price_stock"),
        ("", "get_result"),
        ("\u5929\u6c17", "get_result"),
    ],
)
def test_names_follow_the_description(description: str, name: str) -> None:
    assert orjson.loads(drafted({**WEATHER, "description": description}))["name"] == name


def test_a_name_that_was_refused_is_replaced() -> None:
    repaired = orjson.loads(drafted(WEATHER, '{"reasons": [{"code": "name_taken"}]}'))
    assert repaired["name"] == "get_weather_data_custom"


@pytest.mark.parametrize(
    "description",
    ["Convert an amount between currencies", "Find flights for a route", "Plan a trip", "Tells whether a shop is open"],
)
@pytest.mark.parametrize("inputs", [[], ["start time", "Guest count", "is urgent"], ["e-mail", "\u65e5\u4ed8"]])
def test_what_it_drafts_passes_the_policy(description: str, inputs: list[str]) -> None:
    raw = drafted({"description": description, "inputs": inputs, "outputs": ["result_code"]})
    assert judge(raw, inputs=inputs).reasons == ()


@pytest.mark.parametrize("mood", ["injected", "prose", "remote", "shadowing"])
def test_bad_drafts_come_as_often_as_they_are_ordered(mood: str) -> None:
    once, always = f"sandbox-drafts-{mood}-1", f"sandbox-drafts-{mood}"
    assert judge(drafted(WEATHER, model=once)).reasons
    assert not judge(drafted(WEATHER, "again", model=once)).reasons
    assert judge(drafted(WEATHER, "again", "again", model=always)).reasons
    ordered = {**WEATHER, "description": f"Tool to fetch weather data {once}"}
    assert judge(drafted(ordered)).reasons
    assert not judge(drafted(ordered, "again")).reasons


def test_other_conversations_are_no_briefs() -> None:
    for said in ("Hello!", "[1]", '{"description": "x"}'):
        assert draft(read([{"role": "user", "content": said}]), "sandbox") is None
    assert draft(read([{"role": "system", "content": "x"}]), "sandbox") is None

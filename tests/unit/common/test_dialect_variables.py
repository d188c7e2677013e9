"""Variables of the active prompt from where each platform puts them, and conversations in which nobody has spoken."""

from typing import Any

import pytest

from common.dialects import elevenlabs, hume, vapi
from common.dialects.greeting import asks_for_greeting
from common.dialects.reading import GO_ON

HI = [{"role": "user", "content": "Hi"}]
ASKED = {"role": "user", "content": "Speak your greeting to the user."}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("extra", ["elevenlabs_extra_body", "custom_llm_extra_body"])
def test_elevenlabs_has_them_in_its_extra_body(extra: str) -> None:
    body = {"messages": HI, extra: {"variables": {"city": "Bern"}}}
    assert elevenlabs.read(body, None).body["variables"] == {"city": "Bern"}
    own = {**body, "variables": {"city": "Basel"}}
    assert elevenlabs.read(own, None).body["variables"] == {"city": "Basel"}
    assert "variables" not in elevenlabs.read({"messages": HI, extra: {"variables": "x"}}, None).body


@pytest.mark.parametrize(
    "beside",
    [
        {"call": {"assistantOverrides": {"variableValues": {"city": "Bern", "now": "x", "a b": 1, "list": []}}}},
        {"assistant": {"variableValues": {"city": "Bern", "customer.number": "1"}}},
        {"call": {"id": "c"}, "metadata": {"variables": {"city": "Bern"}}},
    ],
)
def test_vapi_has_its_own_among_them_which_are_left_out(beside: dict[str, Any]) -> None:
    assert vapi.read({"messages": HI, **beside}, None).body["variables"] == {"city": "Bern"}


@pytest.mark.parametrize(
    ("messages", "spoken", "wanted"),
    [
        ([], False, True),
        ([SYSTEM], False, True),
        ([ASKED], False, True),
        ([SYSTEM, ASKED], True, True),
        ([{"role": "user", "content": GO_ON}], True, True),
        ([{"role": "user", "content": GO_ON}], False, False),
        (HI, True, False),
        ([{"role": "user", "content": "Speak your greeting to the user. Hello?"}], True, False),
        ([{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": GO_ON}], True, False),
        ([ASKED, ASKED], True, False),
        ([{"role": "user", "content": [{"type": "text", "text": GO_ON}]}], True, False),
        ([{"role": "assistant", "content": "Hello!"}], True, False),
        ([3, None], True, False),
    ],
)
def test_a_greeting_is_wanted_where_nobody_has_spoken(messages: list[Any], spoken: bool, wanted: bool) -> None:
    assert asks_for_greeting(messages, spoken=spoken) is wanted


def test_a_user_who_says_nothing_at_first_hears_the_greeting() -> None:
    read = hume.read({"messages": [{"role": "user", "content": "  "}]}, "s")
    assert asks_for_greeting(read.body["messages"], spoken=True)

"""How an active set goes into a chat request: behind nothing, ahead of what the caller says, never against it."""

from typing import Any

from llm_stream.answer.active_set import merged

SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}}}'
ASKED = {"model": "default", "messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi"}]}


def a_set(**changes: Any) -> dict[str, Any]:
    told = {
        "config": {"language_model": {"temperature": 0.3}},
        "prompt": {"text": "Greet."},
        "tools": [tool("weather")],
    }
    return {**told, **changes}


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": "Tells it.", "parameters": SCHEMA, "fallback_content": "No idea."}


def function(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": "Tells it.", "parameters": parameters}}


def test_the_prompt_comes_first_and_the_callers_own_follows() -> None:
    assert merged(ASKED, a_set(), offers_tools=True)["messages"] == [
        {"role": "system", "content": "Greet."},
        *ASKED["messages"],
    ]


def test_the_request_of_the_caller_is_left_as_it_is() -> None:
    before = {**ASKED, "messages": list(ASKED["messages"])}
    merged(ASKED, a_set(), offers_tools=True)
    assert before == ASKED


def test_a_set_without_a_text_adds_no_message() -> None:
    assert merged(ASKED, a_set(prompt={}), offers_tools=True)["messages"] == ASKED["messages"]


def test_the_temperature_is_a_default() -> None:
    assert merged(ASKED, a_set(), offers_tools=True)["temperature"] == 0.3
    assert merged({**ASKED, "temperature": None}, a_set(), offers_tools=True)["temperature"] == 0.3
    assert merged({**ASKED, "temperature": 0.0}, a_set(), offers_tools=True)["temperature"] == 0.0
    assert "temperature" not in merged(ASKED, a_set(config={}), offers_tools=True)
    assert "temperature" not in merged(ASKED, a_set(config={"language_model": None}), offers_tools=True)


def test_tools_are_offered_as_functions_beside_the_callers_whose_names_win() -> None:
    assert merged(ASKED, a_set(), offers_tools=True)["tools"] == [function("weather")]
    own = [{"type": "function", "function": {"name": "weather"}}, {"type": "custom"}]
    both = merged({**ASKED, "tools": own}, a_set(tools=[tool("weather"), tool("news")]), offers_tools=True)["tools"]
    assert both == [*own, function("news")]


def test_no_tools_are_offered_where_they_do_not_belong() -> None:
    assert "tools" not in merged(ASKED, a_set(), offers_tools=False)
    assert "tools" not in merged({**ASKED, "functions": []}, a_set(), offers_tools=True)
    assert "tools" not in merged(ASKED, a_set(tools=[]), offers_tools=True)


PROSODY = {"template": "(They sound: {scores}.)", "number": 2, "tokens": 40}


def measured(scores: dict[str, float] | None) -> dict[str, Any]:
    spoken = {"role": "user", "content": "Hi", "models": {"prosody": {"scores": scores}}}
    return {"model": "default", "messages": [spoken]}


def test_how_the_user_sounds_is_told_where_the_config_wants_it() -> None:
    asked = measured({"Joy": 0.5, "Awe": 0.7, "Pain": 0.1})
    [prompt, spoken] = merged(asked, a_set(config={"prosody": PROSODY}), offers_tools=True)["messages"]
    assert (prompt["content"], spoken["content"]) == ("Greet.", "Hi\n\n(They sound: Awe 0.70, Joy 0.50.)")
    assert merged(asked, a_set(), offers_tools=True)["messages"][-1]["content"] == "Hi"
    nothing: dict[str, float] = {}
    for scores in (None, nothing):
        told = merged(measured(scores), a_set(config={"prosody": PROSODY}), offers_tools=True)
        assert told["messages"][-1]["content"] == "Hi"

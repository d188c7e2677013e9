"""Tool calls of servers that put them differently are put together as from OpenAI."""

from typing import Any

import orjson
import pytest

from llm_stream.upstream.completions import read_completion
from tests.support.llm_stream import chunk
from tests.support.relay import RELEASES, Client, call, said

CALLS = {
    "by id": [
        call(id="a", name="f"), call("{}", id="a"), call(id="b", name="g"), call("[]", id="b"), call(" ", id="a"),
    ],
    "by order": [call(id="a", name="f"), call("{} "), call(id="b", name="g"), call("[]")],
    "all at nought": [
        call(id="a", name="f", index=0), call("{} ", index=0), call(id="b", name="g", index=0), call("[]", index=0),
    ],
    "numbered": [
        call(id="a", name="f", index=0), call(id="b", name="g", index=1), call("{} ", index=0), call("[]", index=1),
    ],
    "numbered in text": [call("{} ", id="a", name="f", index="0"), call("[]", id="b", name="g", index="1")],
    "an id again and again": [
        call(id="a", name="f", index=0), call("{} ", id="z", index=0), call("[]", id="b", name="g", index=1),
    ],
    "named in every piece": [
        call(id="a", name="f", index=0), call("{", id="a", name="f", index=0), call("} ", id="a", name="f", index=0),
        call("[", id="b", name="g", index=1), call("]", id="b", name="g", index=1),
    ],
    "an id made up for every piece": [
        call("{", id="a", name="f", index=0), call("} ", id="x", name="f", index=0),
        call("[", id="b", name="g", index=1), call("]", id="y", name="g", index=1), call(id="z", name="g", index=1),
    ],
    "no ids": [call("{} ", name="f"), call("[]", name="g")],
    "no ids, numbered": [call(name="f", index=0), call("{} ", index=0), call(name="g", index=1), call("[]", index=1)],
    "no ids, all at nought": [call("{} ", name="f", index=0), call("[]", name="g", index=0)],
    "empty ids": [call("{} ", id="", name="f", index=0), call(id="", name="g", index=1), call("[]", id="", index=1)],
    "nulls": [
        call(id="a", name="f", index=0, type="function"), call("{} ", id=None, name=None, index=0, type="function"),
        call(id="b", name="g", index=1), call("[]", id=None, name=None, index=1), call(None, index=1),
    ],
    "a name behind its id": [
        call(None, id="a", index=0), call("{} ", name="f", index=0), call(id="b", index=1),
        call("[]", name="g", index=1),
    ],
    "at once": [
        said(
            tool_calls=[
                {"id": "a", "function": {"name": "f", "arguments": "{} "}},
                {"id": "b", "function": {"name": "g", "arguments": "[]"}},
            ]
        )
    ],
}  # fmt: skip


@RELEASES
@pytest.mark.parametrize("spelling", CALLS)
def test_every_piece_of_a_tool_call_finds_its_call(release: str, spelling: str) -> None:
    client = Client(release).takes(*CALLS[spelling], chunk(finish="tool_calls")).ends()
    # As clients do it: whatever is there twice is joined.
    calls: dict[int, list[str]] = {}
    ids: dict[int, list[str]] = {}
    for delta in client.deltas():
        for piece in delta["tool_calls"]:
            function = piece["function"]
            told = calls.setdefault(piece["index"], ["", ""])
            told[0] += function.get("name", "")
            told[1] += function.get("arguments", "")
            ids.setdefault(piece["index"], []).extend([piece["id"]] if "id" in piece else [])
    assert calls == {0: ["f", "{} "], 1: ["g", "[]"]}
    assert [len(each) for each in ids.values()] == [1, 1]
    assert ids[0] != ids[1]
    assert all(ids[0] + ids[1])


@RELEASES
def test_arguments_that_are_an_object_become_text(release: str) -> None:
    client = Client(release).takes(
        call({"a": 1}, name="f"), said(function_call={"name": "g", "arguments": {"b": 2}}), chunk(finish="tool_calls")
    )
    calls, old = client.ends().deltas()
    (told,) = calls["tool_calls"]
    assert (told["type"], told["function"]) == ("function", {"name": "f", "arguments": '{"a":1}'})
    assert old["function_call"] == {"name": "g", "arguments": '{"b":2}'}


def test_a_whole_answer_has_whole_tool_calls() -> None:
    custom: dict[str, Any] = {"id": "c", "type": "custom", "custom": {"name": "h", "input": "x"}}
    message = {
        "content": None,
        "tool_calls": [
            {"index": None, "function": {"name": "f", "arguments": {"a": 1}}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": None}},
            custom,
        ],
    }
    ended = {"message": message, "finish_reason": "tool_calls"}
    without = {"message": {"content": "Hi.", "tool_calls": []}, "finish_reason": "stop"}
    read = read_completion(orjson.dumps({"choices": [ended, without]}))
    first, second = (choice["message"] for choice in read.content["choices"])
    made_up, given, other = first["tool_calls"]
    assert made_up.pop("id").startswith("call_")
    assert made_up == {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert given == {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert other == custom
    assert "tool_calls" not in second

"""What no reader could mistake costs nothing of an answer: framing, order, nulls, extra members, what is repeated."""

import asyncio
import copy
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.heard import Heard
from tests.support.one_turn import Body, Live, Model, World
from tests.unit.llm_stream.test_mutated_answers import FRAMINGS

Json = dict[str, Any]
USAGE = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
DONE = b"[DONE]"


def tool(number: int, arguments: str, **members: Any) -> Json:
    return {"tool_calls": [{"index": number, "function": {"arguments": arguments}, **members}]}


def named(number: int, name: str) -> Json:
    function = {"name": name, "arguments": ""}
    return {"tool_calls": [{"index": number, "id": f"call_{name}", "type": "function", "function": function}]}


# Deltas in the order in which they are said, and why the answer ends.
SPOKEN: dict[str, tuple[list[Json], str]] = {
    "text": ([{"content": text} for text in ("One is ", "here. Two", " is here. ", "Drei \U0001f389.")], "stop"),
    "reasoning": ([{"reasoning_content": "Hm. "}, {"content": "One. Two"}, {"reasoning_content": "So"}], "length"),
    "refusal": ([{"refusal": "I will"}, {"refusal": " not."}], "content_filter"),
    "calls": (
        [
            {"content": "Let me look."},
            named(0, "f"), tool(0, '{"a"'), tool(0, ": 1}"),
            named(1, "g"), tool(1, "{}"),
        ],
        "tool_calls",
    ),
}  # fmt: skip
NULLS = st.sampled_from(["tool_calls", "refusal", "reasoning_content", "function_call", "audio", "name", "x"])
EXTRA = st.sampled_from(["p", "timings", "service_tier", "content_filter_results", "token_ids", "obfuscation"])
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, 0, 1e30, "x", [], {"a": [None]}, True])
IDLE = [{"choices": []}, {"choices": None}, {"type": "ping"}, {"choices": [], "prompt_filter_results": [{"a": 1}]}]


def chunks_of(kind: str) -> list[Json]:
    deltas, reason = SPOKEN[kind]
    said = [*({**delta} for delta in copy.deepcopy(deltas)), {}]
    choices: list[Json] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in said]
    choices[-1]["finish_reason"] = reason
    head = {"id": "u", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [*({**head, "choices": [choice]} for choice in choices), {**head, "choices": [], "usage": dict(USAGE)}]


@st.composite
def changed(draw: st.DrawFn, kind: str) -> list[Json]:
    chunks = chunks_of(kind)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(chunks) - 1))
        each = chunks[at]
        choice = each["choices"][0] if each.get("choices") else None
        how = draw(st.sampled_from(["drop", "null", "extra", "idle", "reorder", "role", "identity", "usage", "ending"]))
        if how == "drop":
            each.pop(draw(st.sampled_from(["id", "object", "created", "model"])), None)
            if choice:
                choice.pop(draw(st.sampled_from(["index", "logprobs"])), None)
        elif how == "null" and choice:
            choice["delta"].setdefault(draw(NULLS), None)
        elif how == "extra":
            (draw(st.sampled_from([each, choice or each])))[draw(EXTRA)] = draw(VALUES)
        elif how == "idle":
            chunks.insert(at, copy.deepcopy(draw(st.sampled_from(IDLE))))
        elif how == "reorder":
            chunks[at] = dict(reversed(each.items()))
        elif how == "role" and choice:
            choice["delta"]["role"] = "assistant"
        elif how == "identity" and choice:
            _repeat_identity(choice["delta"])
        elif how == "usage":
            each["usage"] = dict(USAGE)
        elif how == "ending" and choice and choice["finish_reason"] is None:
            choice["finish_reason"] = ""
    return chunks


def _repeat_identity(delta: Json) -> None:
    for piece in delta.get("tool_calls") or ():
        name = "fg"[piece["index"]]
        piece |= {"id": f"call_{name}", "type": "function"}
        piece["function"]["name"] = name


def run(body: bytes, cuts: list[int], release: str, *, stream: bool, upstreams: int) -> tuple[Heard, Json]:
    tables = [{"name": name, "base_url": "http://h", "model": "m"} for name in ("s", "l")[:upstreams]]
    table = {"small": {"upstreams": tables, "release": release, "tries": 1}}

    async def answered() -> tuple[Heard, Json]:
        world = World(Live(None), Model(bodies={"s": Body(body, cuts)}), table)
        await world.answer(stream=stream)
        (fact,) = world.facts
        return Heard(world.live.frames), fact

    return asyncio.run(answered())


def told(deltas: list[Json]) -> list[tuple[str, str]]:
    """What deltas say, in order: a kind and its text, neighbours of one kind as one; a call is of a kind of its own."""
    parts: list[tuple[str, str]] = []
    for delta in deltas:
        for kind, text in _said(delta):
            if parts and parts[-1][0] == kind:
                text = parts.pop()[1] + text
            parts.append((kind, text))
    return parts


def _said(delta: Json) -> Iterator[tuple[str, str]]:
    for kind, value in delta.items():
        if isinstance(value, str) and value and kind != "role":
            yield kind, value
    for piece in delta.get("tool_calls") or ():
        function = piece["function"]
        identity = f"{piece.get('id', '')}{piece.get('type', '')}{function.get('name', '')}"
        yield f"call {piece['index']}", identity + function.get("arguments", "")


@settings(max_examples=250, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from(sorted(SPOKEN)),
    framing=st.sampled_from(FRAMINGS),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
    release=st.sampled_from(["tokens", "sentences"]),
    upstreams=st.sampled_from([1, 2]),
)
def test_a_harmless_change_costs_nothing_of_a_stream(
    data: st.DataObject,
    kind: str,
    framing: Callable[[bytes], bytes],
    cuts: list[int],
    release: str,
    upstreams: int,
) -> None:
    chunks = data.draw(changed(kind))
    body = b"".join(framing(each) for each in [*map(orjson.dumps, chunks), DONE])
    heard, fact = run(body, cuts, release, stream=True, upstreams=upstreams)
    deltas, reason = SPOKEN[kind]
    assert heard.done
    assert told([choice["delta"] for choice in heard.choices()]) == told(deltas)
    assert heard.finish_reasons() == [reason]
    assert (fact["type"], fact["finish_reason"]) == ("chat.reply.completed/1", reason)
    assert {name: fact["usage"][name] for name in USAGE} == USAGE
    assert not fact["usage"].get("estimated")


def whole_of(kind: str) -> Json:
    deltas, reason = SPOKEN[kind]
    message: Json = {"role": "assistant", "content": None}
    for name, text in told(deltas):
        if not name.startswith("call"):
            message[name] = (message.get(name) or "") + text
    if kind == "calls":
        message["tool_calls"] = [
            {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in (("f", '{"a": 1}'), ("g", "{}"))
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {"id": "u", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(SPOKEN)),
    drop=st.lists(st.sampled_from(["id", "object", "created", "model", "index", "logprobs", "role"]), max_size=4),
    nulls=st.lists(NULLS, max_size=3),
    extra=st.lists(st.tuples(st.sampled_from(["body", "choice", "message"]), EXTRA, VALUES), max_size=3),
    as_parts=st.booleans(),
    as_object=st.booleans(),
    turned=st.booleans(),
    indent=st.booleans(),
    stream=st.booleans(),
)
def test_a_harmless_change_costs_nothing_of_a_whole_answer(
    kind: str,
    drop: list[str],
    nulls: list[str],
    extra: list[tuple[str, str, Any]],
    *,
    as_parts: bool,
    as_object: bool,
    turned: bool,
    indent: bool,
    stream: bool,
) -> None:
    """Also where a stream was wanted, and the server does not know how."""
    expected = whole_of(kind)["choices"][0]
    body = whole_of(kind)
    choice = body["choices"][0]
    message = choice["message"]
    for member in drop:
        for place in (body, choice, message):
            place.pop(member, None)
    for member in nulls:
        message.setdefault(member, None)
    for at, member, value in extra:
        {"body": body, "choice": choice, "message": message}[at][member] = value
    if as_parts and message["content"]:
        message["content"] = [{"type": "text", "text": message["content"]}]
    if as_object:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    body = dict(reversed(body.items())) if turned else body
    sent = orjson.dumps(body, option=orjson.OPT_INDENT_2 if indent and not stream else None)
    content = b"data: " + sent + b"\n\n" if stream else sent
    heard, fact = run(content, [], "sentences", stream=stream, upstreams=1)
    assert (fact["type"], fact["finish_reason"]) == ("chat.reply.completed/1", expected["finish_reason"])
    assert {name: fact["usage"][name] for name in USAGE} == USAGE
    if stream:
        assert heard.done
        said = _joined(heard)
    else:
        assert heard.whole is not None
        said = heard.whole["choices"][0]["message"]
    assert said.get("role") == "assistant"
    for member, value in expected["message"].items():
        if member == "tool_calls":
            assert [_loaded(call) for call in said[member]] == [_loaded(call) for call in value]
        else:
            assert said.get(member) == value


def _joined(heard: Heard) -> Json:
    message: Json = {}
    for choice in heard.choices():
        for member, value in choice["delta"].items():
            message[member] = message[member] + value if member in message else value
    return message


def _loaded(call: Json) -> Json:
    function = call["function"]
    told = {name: call[name] for name in ("id", "type")}
    return {**told, "name": function["name"], "arguments": orjson.loads(function["arguments"])}

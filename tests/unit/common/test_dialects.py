"""Each dialect reads requests and writes answers as the corpus in `tests/data/dialects` says."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from common.dialects.chat_writer import ChatWriter
from common.dialects.dialect_table import DIALECTS, detected, understand
from common.dialects.reading import GO_ON, in_order
from common.dialects.response_writer import ResponseWriter
from common.dialects.responses import MAX_PARTS, chat_request, told_of
from common.failures import Refused
from tests.support.expected import DATA, Expected

CORPUS = DATA / "dialects"
CASES = [path for path in sorted(CORPUS.rglob("*.json")) if path.parent.name != "responses"]
RESPONSES = sorted((CORPUS / "responses").glob("*.json"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON,
            "content": st.text(max_size=3) | JSON,
        },
        optional={"time": JSON, "models": JSON, "tool_calls": JSON, "metadata": JSON, "turn_id": JSON},
    )
    | JSON,
    max_size=5,
)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
KNOWN = (
    "call",
    "metadata",
    "elevenlabs_extra_body",
    "interaction_type",
    "response_id",
    "transcript",
    "context",
    "user_id",
)


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def understood(case: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        found = understand(DIALECTS[name], case["request"], case["session"])
    except Refused as refused:
        return {"refused": refused.body()}
    return {
        "messages": found.body["messages"],
        "session_id": found.session_id,
        "user_id": found.user_id,
        "project_id": found.project_id,
        "newest_wins": found.newest_wins,
        "told": found.told,
    }


@pytest.mark.parametrize("path", CASES, ids=named)
def test_a_request_is_understood_and_answered(path: Path, expected: Expected) -> None:
    case, name = orjson.loads(path.read_bytes()), path.parent.name
    case["detected"] = detected(case["request"]).name
    case["understood"] = understood(case, name)
    writer = ChatWriter(name, case["understood"].get("told", {}))
    case["written"] = [orjson.loads(writer.chunk(orjson.dumps(chunk))) for chunk in case["chunks"]]
    expected.matches(f"dialects/{name}/{path.name}", case)


@pytest.mark.parametrize("path", CASES, ids=named)
def test_a_request_is_told_by_its_shape(path: Path) -> None:
    assert detected(orjson.loads(path.read_bytes())["request"]).name == path.parent.name


@pytest.mark.parametrize("path", RESPONSES, ids=named)
def test_a_response_is_made_of_a_chat_completion(path: Path, expected: Expected) -> None:
    case = orjson.loads(path.read_bytes())
    case["chat"] = chat_request(case["request"])
    writer = ResponseWriter("chatcmpl-0123abcd", 1_795_000_000, case["chat"], told_of(case["request"]))
    if "chunks" in case:
        payloads = [*map(orjson.dumps, case["chunks"]), b"[DONE]"]
        events = [event for payload in payloads for event in writer.chunk(payload)]
        case["events"] = [orjson.loads(event.data) for event in events]
        assert [event.name for event in events] == [event["type"] for event in case["events"]]
        assert [event["sequence_number"] for event in case["events"]] == list(range(len(events)))
    if "completion" in case:
        case["response"] = orjson.loads(writer.whole(orjson.dumps(case["completion"])))
    expected.matches(f"dialects/responses/{path.name}", case)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"input": [{"role": "robot", "content": "hi"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 7}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input.0.content.0"),
        ({"input": [{"role": "user", "content": ["hi"]}]}, "input.0.content.0"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input.0.arguments"),
        ({"input": [{"type": "function_call_output", "output": "4"}]}, "input.0.call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * (MAX_PARTS + 1)}]}, "input"),
    ],
)
def test_what_is_not_served_is_refused_by_name(changed: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        chat_request({"input": "hi", **changed})
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_response_that_fails_says_so_where_clients_look() -> None:
    writer = ResponseWriter("chatcmpl-1", 1, chat_request({"input": "hi"}), {})
    begun = list(writer.chunk(orjson.dumps({"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]})))
    error = {"message": "It broke.", "type": "server_error", "param": None, "code": "upstream_broken"}
    failed, told = (orjson.loads(event.data) for event in writer.failure(error))
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["output"][0]["content"][0]["text"] == "Hi"
    assert told == {
        "type": "error",
        "sequence_number": len(begun) + 1,
        "message": "It broke.",
        "code": "upstream_broken",
        "param": None,
        "error": error,
    }


def test_the_end_of_a_stream_stays_as_it_is() -> None:
    assert ChatWriter("hume", {"session_id": "s", "scores": {"Joy": 0.5}}).chunk(b"[DONE]") == b"[DONE]"


def test_every_choice_carries_the_scores() -> None:
    writer, scores = ChatWriter("openai", {"scores": {"Joy": 0.5}}), {"prosody": {"scores": {"Joy": 0.5}}}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}, {"index": 1, "delta": {"content": "a"}}]}
    chunk = orjson.loads(writer.chunk(orjson.dumps(end)))
    assert [choice["delta"]["models"] for choice in chunk["choices"]] == [scores, scores]
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}
    assert orjson.loads(writer.whole(orjson.dumps(whole)))["choices"][0]["message"]["models"] == scores
    assert orjson.loads(writer.chunk(b'{"choices":[],"usage":{}}')) == {"choices": [], "usage": {}}


def test_a_dialect_of_tomorrow_is_written_as_openai() -> None:
    assert orjson.loads(ChatWriter("tomorrow", {"x": 1}).chunk(b'{"choices":[]}')) == {"choices": []}


@given(
    st.sampled_from(sorted(DIALECTS)),
    st.dictionaries(st.sampled_from(KNOWN), JSON),
    MESSAGES | JSON,
    st.none() | st.text(),
)
def test_whatever_comes_is_understood_or_refused(
    name: str, fields: dict[str, Any], messages: Any, session: str | None
) -> None:
    body = {**fields, "messages": messages}
    before = orjson.dumps(body)
    assert detected(body).name in DIALECTS
    try:
        found = understand(DIALECTS[name], body, session, scores=True)
    except Refused:
        return
    assert orjson.dumps(body) == before
    orjson.loads(ChatWriter(name, found.told).chunk(b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'))


@given(MESSAGES)
def test_a_conversation_in_order_stays_so_and_ends_with_something_to_answer(messages: list[Any]) -> None:
    ordered = in_order(messages)
    assert in_order(ordered) == ordered
    # Nothing is said that was not said before, but the one sentence.
    assert all(message in messages for message in ordered[:-1])
    if messages:
        last = ordered[-1]
        assert last in messages or last == {"role": "user", "content": GO_ON}
        assert not (isinstance(last, dict) and last.get("role") == "assistant" and not last.get("tool_calls"))


@pytest.mark.parametrize("path", RESPONSES, ids=named)
def test_the_official_models_read_what_is_written(path: Path) -> None:
    """They are generated from OpenAI's own description of its API, and strict where they are told to validate."""
    case = orjson.loads(path.read_bytes())
    for event in case.get("events", ()):
        EVENT.validate_python(event)
    if "response" in case:
        Response.model_validate(case["response"])


PIECE = st.text(min_size=1, max_size=4)
DELTAS = st.lists(
    st.fixed_dictionaries({"content": PIECE})
    | st.fixed_dictionaries({"refusal": PIECE})
    | st.fixed_dictionaries({"reasoning_content": PIECE})
    | st.tuples(st.integers(0, 2), st.just("") | PIECE),
    max_size=12,
)


def as_delta(piece: Any, begun: set[int]) -> dict[str, Any]:
    """A piece of a tool call as a delta, with its id and name only at its beginning; everything else as it is."""
    if isinstance(piece, dict):
        return piece
    index, arguments = piece
    head = {} if index in begun else {"id": f"call_{index}", "type": "function"}
    name = {} if index in begun else {"name": "f"}
    begun.add(index)
    return {"tool_calls": [{"index": index, **head, "function": {**name, "arguments": arguments}}]}


@given(DELTAS, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_the_deltas_of_an_item_are_what_its_end_says(pieces: list[Any], ending: str) -> None:
    writer, begun = ResponseWriter("chatcmpl-1", 1, chat_request({"input": "hi"}), {}), set[int]()
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": as_delta(piece, begun)}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": ending}]})
    payloads = [*map(orjson.dumps, chunks), b"[DONE]"]
    events = [orjson.loads(event.data) for payload in payloads for event in writer.chunk(payload)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    said: dict[int, str] = {}
    ended: dict[int, dict[str, Any]] = {}
    for event in events:
        at = event.get("output_index")
        if event["type"] == "response.output_item.added":
            assert at == len(said)
            said[at] = ""
        elif event["type"].endswith(".delta"):
            assert at not in ended
            said[at] += event["delta"]
        elif event["type"] == "response.output_item.done":
            ended[at] = event["item"]
    final = events[-1]["response"]
    assert final["status"] == ("incomplete" if ending in ("length", "content_filter") else "completed")
    assert [ended[at] for at in range(len(said))] == final["output"]
    for at, item in ended.items():
        text = item["arguments"] if item["type"] == "function_call" else next(iter(parts(item)), "")
        assert text == said[at]


def parts(item: dict[str, Any]) -> list[str]:
    return [part.get("text") or part.get("refusal") for part in item["content"]]

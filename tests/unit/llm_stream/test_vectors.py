"""Embeddings of any OpenAI-compatible server: delivered with every vector, or refused with a reason."""

import base64
import json
import math
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.ports import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused
from llm_stream.upstream.vectors import Embeddings, Form, Wanted, read_embeddings

USAGE = {"prompt_tokens": 3, "total_tokens": 3}


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def entry(index: int, embedding: Any, **members: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding, **members}


def answer(*entries: Any, **members: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(entries), "model": "m-1", "usage": USAGE, **members}


def read(body: Any, inputs: int = 1, form: Form = "float") -> Embeddings:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_embeddings(raw, Wanted(inputs, form, "m-0", lambda: 9))


def vectors(found: Embeddings) -> list[Any]:
    return [each["embedding"] for each in orjson.loads(found.body)["data"]]


@pytest.mark.parametrize("form", ["float", "base64"])
def test_an_answer_of_openai_is_passed_on_as_the_bytes_that_came(form: Form) -> None:
    values = ([0.5, -1e-5], [1.0, 2.0])
    entries = [entry(at, each if form == "float" else packed(*each)) for at, each in enumerate(values)]
    body = json.dumps(answer(*entries), indent=1).encode()
    found = read(body, 2, form)
    assert found.body is body
    assert found.model == "m-1"
    assert found.usage
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (3, 0, 3)


def test_vectors_come_in_the_form_that_was_asked_for() -> None:
    numbers = [0.5, -0.25, 3.0]
    assert vectors(read(answer(entry(0, numbers)), form="base64")) == [packed(*numbers)]
    assert vectors(read(answer(entry(0, packed(*numbers))), form="float")) == [numbers]


def test_what_a_server_leaves_out_is_added() -> None:
    found = read({"data": [{"embedding": [1.0]}, {"embedding": [2]}]}, 2)
    assert orjson.loads(found.body) == {
        "object": "list",
        "data": [entry(0, [1.0]), entry(1, [2])],
        "model": "m-0",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    assert found.usage is None


@pytest.mark.parametrize("usage", [{"total_tokens": 5}, {"prompt_tokens": "5"}, {"prompt_tokens": 5.0, "x": None}])
def test_usage_is_read_as_far_as_it_goes(usage: dict[str, Any]) -> None:
    found = read(answer(entry(0, [1.0]), usage=usage))
    assert found.usage
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (5, 0)
    assert orjson.loads(found.body)["usage"].items() >= {"prompt_tokens": 5, "total_tokens": 5}.items()


@pytest.mark.parametrize("index", ["0", 0.0, None, "first", -1])
def test_a_number_that_is_none_is_the_place(index: Any) -> None:
    assert orjson.loads(read(answer(entry(index, [1.0]))).body)["data"][0]["index"] == 0


def test_vectors_come_in_the_order_of_their_inputs() -> None:
    found = read(answer(entry(1, [2.0]), entry(0, [1.0])), 2)
    assert vectors(found) == [[1.0], [2.0]]
    assert [each["index"] for each in orjson.loads(found.body)["data"]] == [0, 1]


def test_what_else_a_server_says_stays() -> None:
    found = read(answer(entry(0, [1], extra=1), id="e-1", usage={**USAGE, "cost": 0.1}))
    told = orjson.loads(found.body)
    assert told["id"] == "e-1"
    assert told["usage"] == {**USAGE, "cost": 0.1}


def test_base64_with_escaped_slashes_is_read() -> None:
    text = packed(-1.0, *([-1.5e30] * 9))
    assert "/" in text
    body = json.dumps(answer(entry(0, text))).replace("/", "\\/").encode()
    assert vectors(read(body, form="base64")) == [text]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"nonsense",
        b"<html><h1>Bad gateway</h1></html>",
        answer(),
        answer(entry(0, [1.0]), entry(1, [1.0])),
        answer(entry(0, [])),
        answer(entry(0, None)),
        answer(entry(0, "no base64!")),
        answer(entry(0, "AAA=")),
        answer(entry(0, [1.0, None])),
        answer(entry(0, [1.0, "2"])),
        answer(entry(0, [[1.0], [2.0]])),
        answer(entry(0, {"vector": 1})),
        answer(entry(0, 0)),
        answer(entry(1, [1.0])),
        answer(entry(0, [math.nan])),
        answer(7),
        {"data": None},
        json.dumps(answer(entry(0, [1.0, 2.0])))[:-1].encode(),
        json.dumps(answer(entry(0, [1.0, 2.0])))[:60].encode(),
        json.dumps(answer(entry(0, [1.5]))).replace("1.5", "1.5,,2").encode(),
    ],
)
def test_what_is_no_answer_is_refused(broken: Any) -> None:
    with pytest.raises(UpstreamBroken):
        read(broken)


@pytest.mark.parametrize("entries", [(entry(0, [1.0]), entry(0, [2.0])), (entry(0, [1.0]), entry(1, [1.0, 2.0]))])
def test_vectors_that_do_not_belong_together_are_refused(entries: tuple[Any, ...]) -> None:
    with pytest.raises(UpstreamBroken):
        read(answer(*entries), 2)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, UpstreamBusy),
        (
            {"object": "error", "message": "This model's maximum context length is 8192 tokens", "code": 400},
            UpstreamRefused,
        ),
        ({"error": "the model is loading"}, UpstreamBroken),
    ],
)
def test_an_error_within_a_200_keeps_its_kind(error: Any, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind):
        read(error)


NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)
ODD = st.none() | st.integers(-3, 3) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1, "\t"]), st.data())
def test_a_mutated_answer_is_delivered_whole_or_refused(
    values: list[list[float]], as_text: bool, indent: Any, data: st.DataObject
) -> None:
    entries = [entry(at, packed(*each) if as_text else each) for at, each in enumerate(values)]
    body: dict[str, Any] = answer(*data.draw(st.permutations(entries)))
    changed = data.draw(st.sampled_from(["nothing", "member", "entry", "left out"]))
    if changed == "member":
        body[data.draw(st.sampled_from(["object", "model", "usage", "extra"]))] = data.draw(ODD)
    elif changed == "left out":
        body.pop(data.draw(st.sampled_from(["object", "model", "usage"])))
    elif changed == "entry":
        chosen = data.draw(st.sampled_from(body["data"]))
        chosen[data.draw(st.sampled_from(["object", "index", "embedding", "extra"]))] = data.draw(ODD)
    try:
        found = read(json.dumps(body, indent=indent).encode(), len(values))
    except UpstreamError:
        assert changed == "entry"
        return
    told = orjson.loads(found.body)
    assert told["object"] == "list"
    assert told["usage"]["total_tokens"] >= 0
    assert [each["index"] for each in told["data"]] == list(range(len(values)))
    if changed != "entry":
        assert [each["embedding"] for each in told["data"]] == values

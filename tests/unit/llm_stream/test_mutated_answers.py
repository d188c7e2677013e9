"""A valid answer, however its framing, types, order and extra fields are changed, is heard whole or refused."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.heard import Heard
from tests.support.one_turn import Body, Live, Model, World
from tests.support.scripted import chunk, messages

MAX_INTEGER = 2**31 - 1
TEXTS = ["One is ", "here. Two", " is here. ", "Drei \U0001f389."]
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
Json = dict[str, Any]

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 7, 1e30, 10**12, 2**63, 0.5, "", "stop", "error", "\x00", [], {}, ["x"], {"a": 1}]),
)
MEMBERS = st.sampled_from(
    ["id", "object", "created", "model", "usage", "choices", "error", "extra", "detail", "message"]
)
CHOICE_MEMBERS = st.sampled_from(["index", "delta", "finish_reason", "logprobs", "error", "message", "extra"])
DELTA_MEMBERS = st.sampled_from(["role", "content", "tool_calls", "refusal", "reasoning_content", "audio", "extra"])


def answer() -> list[Json]:
    chunks = [chunk("", role="assistant"), *(chunk(text) for text in TEXTS), chunk(finish="stop")]
    return [{"id": "u", "model": "m", **each} for each in [*chunks, {"choices": [], "usage": dict(USAGE)}]]


@st.composite
def mutated(draw: st.DrawFn) -> list[Json]:
    chunks = answer()
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(chunks) - 1))
        how = draw(st.sampled_from(["member", "choice", "delta", "drop member", "odd chunk", "repeat end", "reorder"]))
        each = chunks[at]
        choices = each.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if how == "member":
            each[draw(MEMBERS)] = draw(ODD)
        elif how == "drop member":
            each.pop(draw(MEMBERS), None)
        elif how == "odd chunk":
            chunks.insert(at, draw(st.sampled_from([{}, {"choices": None}, {"type": "ping"}, {"usage": {"a": 1}}])))
        elif how == "repeat end":
            chunks.insert(len(chunks) - 1, copy.deepcopy(chunks[-2]))
        elif how == "reorder":
            chunks[at] = dict(reversed(each.items()))
        elif how == "choice" and isinstance(choice, dict):
            choice[draw(CHOICE_MEMBERS)] = draw(ODD)
        elif how == "delta" and isinstance(choice, dict) and isinstance(choice.get("delta"), dict):
            choice["delta"][draw(DELTA_MEMBERS)] = draw(ODD)
    return chunks


FRAMINGS: list[Callable[[bytes], bytes]] = [
    lambda data: b"data: " + data + b"\n\n",
    lambda data: b"data:" + data + b"\r\n\r\n",
    lambda data: b"event: x\rdata: " + data + b"\r\r",
    lambda data: b": ping\n\ndata: " + data + b"\n: after\n\n",
    lambda data: b"data: " + data.replace(b',"', b'\ndata: ,"') + b"\n\n",
]


GOOD = Body(messages(*answer(), b"[DONE]"))


def turn_of(body: Body, release: str, *, stream: bool, fallback: bool) -> tuple[Heard, Json]:
    """What a client hears of a turn whose first upstream answers like that, and the one fact about it."""
    upstreams = [{"name": name, "base_url": "http://h", "model": "m"} for name in ("s", "l")]
    table = {"small": {"upstreams": upstreams if fallback else upstreams[:1], "release": release, "tries": 1}}

    async def run() -> tuple[Heard, Json]:
        world = World(Live(None), Model(bodies={"s": body, "l": GOOD if stream else Body(WHOLE)}), table)
        await world.answer(stream=stream, stream_options={"include_usage": True})
        (fact,) = world.facts
        return Heard(world.live.frames), fact

    return asyncio.run(run())


def settled(heard: Heard, fact: Json, *, stream: bool) -> bool:
    """Whether the answer is whole; either way every part of it can be read, and the fact can be kept."""
    for each in heard.chunks if stream else []:
        assert (each["id"], each["object"]) == ("chatcmpl-1", "chat.completion.chunk")
        for choice in each["choices"]:
            assert type(choice["index"]) is int
            assert choice["finish_reason"] is None or type(choice["finish_reason"]) is str
            assert type(choice["delta"].get("content") or "") is str
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert 0 <= fact["usage"][count] <= MAX_INTEGER
    assert b"\\u0000" not in orjson.dumps(fact)
    if fact["type"] == "chat.reply.completed/1":
        assert heard.end["outcome"] == "completed"
        assert heard.done if stream else heard.whole
        assert fact["finish_reason"]
        return True
    assert fact["type"] == "chat.reply.failed/1"
    assert (heard.end["outcome"], heard.done, heard.whole) == ("failed", False, None)
    assert fact["error"]["message"]
    assert fact["error"]["status"] != 500
    return False


@settings(max_examples=300, deadline=None)
@given(
    chunks=mutated(),
    framing=st.sampled_from(FRAMINGS),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    release=st.sampled_from(["tokens", "sentences"]),
    lost=st.sampled_from([None, None, None, 1, 2, 4, 6]),
)
def test_a_mutated_answer_is_heard_whole_or_refused(
    chunks: list[Json], framing: Callable[[bytes], bytes], mark: bytes, cuts: list[int], release: str, lost: int | None
) -> None:
    kept = chunks if lost is None else chunks[:lost]
    body = mark + b"".join(framing(orjson.dumps(each)) for each in kept) + (b"" if lost else b"data: [DONE]\n\n")
    heard, fact = turn_of(Body(body, cuts), release, stream=True, fallback=False)
    if settled(heard, fact, stream=True):
        # A stream that was cut is whole where its answer had ended before.
        assert lost is None or any(_ends(each) for each in kept)
        # Where a mutation took a text away, it is not there to be heard; nothing else is missing.
        assert heard.text() == "".join(_text_of(each) for each in kept)


@settings(max_examples=120, deadline=None)
@given(chunks=mutated(), lost=st.sampled_from([None, 1, 2, 3, 4, 6]), release=st.sampled_from(["tokens", "sentences"]))
def test_behind_a_mutated_answer_a_fallback_makes_it_whole(chunks: list[Json], lost: int | None, release: str) -> None:
    """Unless somebody refused, or began what nobody can go on with."""
    body = messages(*(chunks if lost is None else chunks[:lost]), *([] if lost else [b"[DONE]"]))
    heard, fact = turn_of(Body(body), release, stream=True, fallback=True)
    whole = settled(heard, fact, stream=True)
    if whole and len(fact["attempts"]) > 1:
        assert heard.text().endswith(TEXTS[-1])


def _ends(each: Json) -> bool:
    """Whether a choice says that it has ended."""
    choices = each.get("choices")
    return isinstance(choices, list) and any(choice.get("finish_reason") for choice in choices)


def _text_of(each: Json) -> str:
    """The text of the first choice as a lenient client reads it."""
    choices = each.get("choices")
    if not isinstance(choices, list) or not choices or each.get("error"):
        return ""
    choice = choices[0]
    index = choice.get("index")
    delta = choice.get("delta")
    delta = choice.get("message") or {} if delta is None else delta
    content = delta.get("content")
    if isinstance(content, list):
        content = "".join(part for part in content if isinstance(part, str))
    number = (
        index if isinstance(index, (int, float)) and not isinstance(index, bool) and 0 <= index <= MAX_INTEGER else 0
    )
    return content if isinstance(content, str) and int(number) == 0 else ""


def whole_answer() -> Json:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hi.", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "u", "object": "chat.completion", "model": "m", "choices": [choice], "usage": dict(USAGE)}


WHOLE = orjson.dumps(whole_answer())


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.one_of(
            st.tuples(st.just("body"), MEMBERS, ODD),
            st.tuples(st.just("choice"), CHOICE_MEMBERS, ODD),
            st.tuples(st.just("message"), DELTA_MEMBERS, ODD),
            st.tuples(st.just("drop"), MEMBERS, st.none()),
        ),
        max_size=4,
    ),
    kept=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5, 0.0]),
    fallback=st.booleans(),
)
def test_a_mutated_completion_is_read_or_refused(
    changes: list[tuple[str, str, Any]], kept: float, fallback: bool
) -> None:
    body = whole_answer()
    choice = body["choices"][0]
    message = choice["message"]
    places = {"body": body, "choice": choice, "message": message}
    for place, member, odd in changes:
        if place == "drop":
            body.pop(member, None)
        else:
            places[place][member] = odd
    sent = orjson.dumps(body)
    heard, fact = turn_of(Body(sent[: int(len(sent) * kept)]), "tokens", stream=False, fallback=fallback)
    if not settled(heard, fact, stream=False):
        return
    assert heard.whole is not None
    told = heard.whole["choices"][0]["message"]
    assert told["role"] == "assistant"
    assert type(told["content"] or "") is str
    for call in told.get("tool_calls", ()):
        assert all(type(call[member]) is str for member in ("id", "type"))
    if len(fact["attempts"]) == 1:
        assert kept == 1.0
        assert told["content"] == _text_in(choice["message"].get("content"))


def _text_in(content: Any) -> str | None:
    return "".join(part for part in content if isinstance(part, str)) if isinstance(content, list) else content

"""A valid answer, however its framing, types, order and extra fields are changed, is heard whole or refused."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from common.events.chat import ChatReplyCompleted
from llm_stream.adapters.event_stream import EventLines
from llm_stream.answer.finish import FinishedAnswer, finish
from llm_stream.ports import UpstreamError
from llm_stream.upstream.completions import read_completion
from tests.support.llm_stream import chunk
from tests.support.relay import Mailbox, relay_on

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


def heard(mailbox: Mailbox) -> str:
    """The text of the first choice, as a client puts it together; every chunk must be one it can read."""
    text = ""
    for data in mailbox.data():
        if data == b"[DONE]":
            continue
        told = orjson.loads(data)
        assert (told["id"], told["object"]) == ("chatcmpl-1", "chat.completion.chunk")
        for choice in told["choices"]:
            assert type(choice["index"]) is int
            assert choice["finish_reason"] is None or type(choice["finish_reason"]) is str
            content = choice["delta"].get("content")
            assert content is None or type(content) is str
            text += content or "" if choice["index"] == 0 else ""
    return text


def recorded(finished: FinishedAnswer) -> None:
    """The fact can be built, and telemetry's table holds it."""
    fact = ChatReplyCompleted(
        request_id="r",
        org_id="o",
        key_id="k",
        session_id="s",
        model="alias",
        stream=True,
        upstream_model=finished.model,
        usage=finished.usage,
        cost_usd=finished.upstream.price.cost(finished.usage.prompt_tokens, finished.usage.completion_tokens),
        received_at=0,
        started_at=0,
        finished_at=0,
        finish_reason=finished.finish_reason,
    )
    usage = fact.usage
    for count in (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens):
        assert 0 <= count <= MAX_INTEGER
    assert b"\\u0000" not in fact.model_dump_json().encode()


@settings(max_examples=400, deadline=None)
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
    """Nothing but an `UpstreamError` is ever raised: that is an answer, a fact, and no 500."""
    kept = chunks if lost is None else chunks[:lost]
    body = mark + b"".join(framing(orjson.dumps(each)) for each in kept) + (b"" if lost else b"data: [DONE]\n\n")
    edges = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    lines, mailbox = EventLines(), Mailbox()
    relay = relay_on(mailbox, release, include_usage=True)
    refused: UpstreamError | None = None
    try:
        for payload in [each for a, b in pairwise(edges) for each in lines.feed(body[a:b])] + lines.end():
            relay.take(payload)
        relay.check_whole()
    except UpstreamError as error:
        refused = error
    if refused is not None:
        assert str(refused)
        assert b"[DONE]" not in mailbox.data()
        return
    assert lost is None
    recorded(finish(relay))
    relay._frames.delivery.flush()
    # Where a mutation took a text away, it is not there to be heard; nothing else is missing.
    assert heard(mailbox) == "".join(_text_of(each) for each in chunks)


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


@settings(max_examples=200, deadline=None)
@given(member=MEMBERS, odd=ODD, choice_member=CHOICE_MEMBERS, choice_odd=ODD, drop=st.booleans())
def test_a_mutated_completion_is_read_or_refused(
    member: str, odd: Any, choice_member: str, choice_odd: Any, drop: bool
) -> None:
    choice: Json = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    body: Json = {"id": "u", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE}
    choice[choice_member] = choice_odd
    if drop:
        body.pop(member, None)
    else:
        body[member] = odd
    try:
        read = read_completion(orjson.dumps(body))
    except UpstreamError:
        return
    assert read.content["choices"][0]["message"]["content"] == (None if choice_member == "message" else "Hi.")
    assert read.finish_reason
    assert "\x00" not in read.finish_reason + (read.model or "")
    orjson.dumps(read.content)

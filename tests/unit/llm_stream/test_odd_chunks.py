"""Streams of servers that put it differently are heard whole and in order, and what is broken stays broken."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.chat import Usage
from llm_stream.ports import Said, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused
from tests.support.llm_stream import chunk
from tests.support.relay import RELEASES, Client, Delta, call, said

# -- odd chunks -------------------------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
NOTHING: dict[str, Any] = {
    "null": {"choices": None},
    "missing": {"model": "m"},
    "ping": {"type": "ping"},
    "empty": {"choices": []},
    "no delta": {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
    "delta missing": {"choices": [{"index": 0}]},
    "a null error": {"error": None, "choices": []},
    "a filter's result": {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
}


@RELEASES
@pytest.mark.parametrize("odd", NOTHING)
def test_a_chunk_that_says_nothing_is_passed_over(release: str, odd: str) -> None:
    client = Client(release).takes(NOTHING[odd], chunk("Hi. "), NOTHING[odd], chunk("Bye."), chunk(finish="stop"))
    client.takes(NOTHING[odd]).ends()
    assert (client.text, client.endings) == ("Hi. Bye.", ["stop"])


@RELEASES
@pytest.mark.parametrize(
    "reported",
    [
        {"usage": USAGE},
        {"choices": None, "usage": USAGE},
        {"choices": [], "x_groq": {"usage": USAGE}},
        {"choices": [{"index": 0, "delta": {}, "usage": USAGE}]},
    ],
)
def test_usage_is_taken_wherever_it_stands(release: str, reported: dict[str, Any]) -> None:
    client = Client(release).takes(chunk("Hi."), chunk(finish="stop"), reported).ends()
    assert client.fact.usage == Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
    assert client.chunks[-1]["usage"] == USAGE


@RELEASES
def test_an_empty_finish_reason_ends_nothing(release: str) -> None:
    """Such a stream, cut in the middle, was passed off as complete."""
    client = Client(release).takes(chunk("Hi. ", finish=""), chunk("Bye.", finish=""))
    with pytest.raises(UpstreamBroken):
        client.ends()
    assert client.endings == []
    whole = Client(release).takes(chunk("Hi. ", finish=""), chunk("Bye."), chunk(finish="stop")).ends()
    assert (whole.text, whole.endings) == ("Hi. Bye.", ["stop"])


def test_the_end_of_one_choice_is_not_the_last_of_two() -> None:
    client = Client("tokens", choices=2)
    assert client.relay.take(orjson.dumps(chunk("Hi.", finish="stop", index=1))) is Said.SOMETHING
    assert client.relay.take(orjson.dumps(chunk("Hi.", finish="stop", index=0))) is Said.LAST


FILTER = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]


@RELEASES
def test_what_a_chunk_without_choices_tells_travels_with_the_next_one(release: str) -> None:
    """Azure's filter tells first what it found, llama.cpp last how long it took; no client need read empty choices."""
    azure = {"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": FILTER}
    client = Client(release).takes(azure)
    assert not client.mailbox.frames
    client.takes(*(chunk(f"{number}. ") for number in range(9)), chunk(finish="stop"))
    client.takes({"choices": [], "usage": USAGE, "timings": {"predicted_ms": 3}}).ends()
    told = [each.get("prompt_filter_results") for each in client.chunks]
    assert told == [FILTER] + [None] * (len(told) - 1)
    assert [each["timings"] for each in client.chunks if "timings" in each] == [{"predicted_ms": 3}]
    assert all(each["choices"] for each in client.chunks[:-1])
    assert {each["id"] for each in client.chunks} == {"chatcmpl-1"}


@RELEASES
def test_what_a_choice_tells_beside_an_empty_delta_travels_with_its_next_one(release: str) -> None:
    beside = {"index": 0, "delta": {}, "finish_reason": None, "content_filter_results": {"hate": {"filtered": False}}}
    client = Client(release).takes({"model": "m", "choices": [beside]})
    assert not client.mailbox.frames
    client.takes(chunk("Hi. "), chunk("Bye."), {"model": "m", "choices": [beside]}, chunk(finish="stop")).ends()
    assert client.text == "Hi. Bye."
    assert any(choice.get("content_filter_results") for choice in client.choices())


@RELEASES
@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (chunk(""), Said.NOTHING),
        (chunk("", role="assistant"), Said.NOTHING),
        ({"choices": []}, Said.NOTHING),
        ({"type": "ping"}, Said.NOTHING),
        ({"choices": [], "usage": USAGE}, Said.NOTHING),
        (chunk(" \n"), Said.NOTHING),
        (chunk(tool_calls=[]), Said.NOTHING),
        (chunk("Hi"), Said.SOMETHING),
        (chunk(reasoning_content="Hm"), Said.SOMETHING),
        (chunk(tool_calls=[{"index": 0, "function": {"arguments": " "}}]), Said.SOMETHING),
        (chunk(finish="stop"), Said.LAST),
        (b"[DONE]", Said.ALL),
    ],
)
def test_what_is_a_sign_of_life(release: str, payload: Any, said: Said) -> None:
    data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    fresh = Client(release)
    assert fresh.relay.take(data) is said
    # Once the shape of a stream is known as well.
    begun = Client(release).takes(*(chunk(f"{number}. ") for number in range(5)))
    assert begun.relay.take(data) is said


@RELEASES
def test_an_end_is_sent_once(release: str) -> None:
    client = (
        Client(release).takes(chunk("Hi."), chunk(finish="stop"), chunk(finish="stop"), chunk("!", "length")).ends()
    )
    assert (client.text, client.endings) == ("Hi.!", ["stop"])


@RELEASES
@pytest.mark.parametrize(
    ("reason", "told"),
    [(1, "1"), (True, "stop"), ({"type": "eos"}, "stop"), ({"a": 1}, "stop"), (["x"], None), (0, None), ({}, None)],
)
def test_an_end_that_is_no_text_is_made_one(release: str, reason: Any, told: str | None) -> None:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    client = Client(release).takes(chunk("Hi."), last)
    if told is None:
        with pytest.raises(UpstreamBroken):
            client.ends()
    else:
        assert client.ends().fact.finish_reason == told
        assert client.endings == [told]


@RELEASES
@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("STOP", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("tool_use", "tool_calls"), ("SAFETY", "content_filter"), ("length", "length"), ("of_tomorrow", "of_tomorrow"),
    ],
)  # fmt: skip
def test_an_end_is_told_in_the_words_that_clients_act_on(release: str, reason: str, told: str) -> None:
    assert Client(release).takes(chunk("Hi."), chunk(finish=reason)).ends().endings == [told]


@RELEASES
@pytest.mark.parametrize("reason", ["abort", "ERROR", "cancelled", "insufficient_system_resource", {"type": "abort"}])
def test_an_answer_that_was_given_up_is_no_whole_one(release: str, reason: Any) -> None:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    with pytest.raises(UpstreamBroken):
        Client(release).takes(chunk("Hi. "), last)


@RELEASES
@pytest.mark.parametrize("model", [7, 1.5, None, True, ["x"], {"a": 1}, "", "a\x00b", "x" * 5000])
def test_a_model_that_is_no_name_costs_no_fact(release: str, model: Any) -> None:
    chunks = [{**each, "model": model} for each in (chunk("Hi. "), chunk("Bye."), chunk(finish="stop"))]
    client = Client(release).takes(*chunks).ends()
    assert client.text == "Hi. Bye."
    assert client.fact.model is not None
    assert 0 < len(client.fact.model) <= 200
    assert "\x00" not in client.fact.model


@RELEASES
@pytest.mark.parametrize("odd", [1e30, 10**12, -5, "many", None, True, [], 2**31])
def test_a_count_that_is_none_is_estimated(release: str, odd: Any) -> None:
    reported = {"choices": [], "usage": {"prompt_tokens": odd, "completion_tokens": odd, "total_tokens": odd}}
    client = Client(release).takes(chunk("Hi. "), chunk("Bye."), chunk(finish="stop"), reported).ends()
    assert client.fact.usage == Usage(completion_tokens=2, total_tokens=2, estimated=True)
    assert client.chunks[-1]["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}


@RELEASES
def test_counts_in_text_and_fractions_are_counts(release: str) -> None:
    reported = {"choices": [], "usage": {"prompt_tokens": "12", "completion_tokens": 3.0, "total_tokens": 2**31 - 1}}
    client = Client(release).takes(chunk("Hi."), chunk(finish="stop"), reported).ends()
    assert client.fact.usage == Usage(prompt_tokens=12, completion_tokens=3, total_tokens=15)
    most = {"usage": {"prompt_tokens": 2**31 - 1, "completion_tokens": 2**31 - 1}}
    client = Client(release).takes(chunk("Hi."), chunk(finish="stop"), most).ends()
    assert client.fact.usage.total_tokens == 2**31 - 1


@RELEASES
def test_choices_without_an_index_are_numbered(release: str) -> None:
    both = {"model": "m", "choices": [{"delta": {"content": "A. "}}, {"delta": {"content": "B. "}}]}
    ends = {"choices": [{"delta": {}, "finish_reason": "stop"}, {"delta": {}, "finish_reason": "length"}]}
    client = Client(release, choices=2).takes(both, both, ends).ends()
    for index, text in enumerate(["A. A. ", "B. B. "]):
        assert "".join(delta.get("content", "") for delta in client.deltas(index)) == text
    texts = Client(release).takes({"choices": [{"index": "0", "delta": {"content": "A."}, "finish_reason": "stop"}]})
    assert texts.ends().text == "A."


@RELEASES
def test_content_in_parts_is_text(release: str) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}]}
    image = {"type": "image_url", "image_url": {"url": "x"}}
    client = Client(release).takes(
        said(content=[thinking]),
        said(content=[{"type": "text", "text": "Hi. "}, "There. "]),
        said(content=[{"type": "text", "text": "Bye. "}, image]),
        chunk(finish="stop"),
    )
    client.ends()
    assert client.text == "Hi. There. Bye. "
    assert client.deltas()[0] == {"reasoning_content": "Hm. "}
    assert client.deltas()[-1]["content_parts"] == [image]


@RELEASES
def test_what_only_python_reads_is_read(release: str) -> None:
    """`NaN`, half a character, bytes that are no text, and a number without an end."""
    head = b'{"model":"m","choices":[{"index":0,"finish_reason":null,"delta":{"content":"'
    client = Client(release).takes(
        head + b'A. "}}],"x":NaN,"y":-Infinity}',
        head + b'B\\ud83d. "}}]}',
        head + b'C\xff. "}}]}',
        head + b'D\n. "}}],"z":' + b"9" * 400 + b"}",
        chunk(finish="stop"),
    )
    client.ends()
    assert client.text == "A. B\ufffd. C\ufffd. D\n. "


@RELEASES
@pytest.mark.parametrize("depth", [240, 300, 2000, 100_000])
def test_nesting_is_passed_on_or_refused(release: str, depth: int) -> None:
    payload = (
        b'{"model":"m","choices":[{"index":0,"delta":{"content":"A. "}}],"x":' + b"[" * depth + b"]" * depth + b"}"
    )
    client = Client(release)
    if depth < 250:
        assert client.takes(payload, chunk(finish="stop")).ends().text == "A. "
    else:
        with pytest.raises(UpstreamBroken):
            client.takes(payload)


@RELEASES
def test_an_answer_that_is_not_streamed_is_heard(release: str) -> None:
    """A server that ignores `stream` sends its JSON."""
    message = {"role": "assistant", "content": "Hi. Bye.", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    client = Client(release).takes({"object": "chat.completion", "choices": [choice], "usage": USAGE})
    assert client.relay.ended
    client.relay.check_whole()
    client.ends()
    assert client.text == "Hi. Bye."
    whole = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert client.deltas()[-1]["tool_calls"] == [whole]
    assert client.fact.usage.total_tokens == 7
    cut = Client(release).takes({"choices": [{"index": 0, "message": message, "finish_reason": None}]})
    with pytest.raises(UpstreamBroken):
        cut.relay.check_whole()


# -- errors within the stream -----------------------------------------------------------------------------------------


@RELEASES
@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        ({"error": {"message": "slow", "code": 429}}, UpstreamBusy),
        ([{"error": {"message": "quota", "code": 429}}], UpstreamBusy),
        ({"object": "error", "message": "no", "code": 400}, UpstreamRefused),
        ({"error": {"message": "prompt is too long: 2 tokens > 1 maximum"}}, UpstreamRefused),
        ({"error": "overloaded"}, UpstreamBroken),
        ({"choices": [{"index": 0, "delta": {}, "error": {"message": "slow", "code": 429}}]}, UpstreamBusy),
        ({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}, UpstreamBroken),
    ],
)
def test_an_error_in_the_stream_is_raised_as_what_it_is(
    release: str, payload: Any, failure: type[UpstreamError]
) -> None:
    with pytest.raises(failure):
        Client(release).takes(payload)
    with pytest.raises(failure):
        Client(release).takes(chunk("Hi. "), chunk("Hi. "), payload)


# -- holding back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reasoning_content", "reasoning", "refusal", "audio"])
def test_only_text_is_held_back(kind: str) -> None:
    client = Client("sentences").takes(said(**{kind: "hm"}))
    assert client.deltas() == [{kind: "hm"}]
    client.takes(chunk("Hello"))
    assert len(client.deltas()) == 1
    client.takes(said(**{kind: "hm again"}))
    assert client.deltas()[1:] == [{"content": "Hello"}, {kind: "hm again"}]


@RELEASES
def test_everything_leaves_in_the_order_in_which_it_came(release: str) -> None:
    deltas: list[Delta] = [
        {"reasoning_content": "a"},
        {"content": "One. Tw"},
        {"content": "o"},
        {"reasoning_content": "b"},
        {"content": "Three"},
        {"refusal": "c"},
        {"audio": {"data": "d"}},
        {"content": "Let me see."},
        {"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"content": "After"},
        {"reasoning_content": "e"},
    ]
    client = Client(release).takes(*(said(**delta) for delta in deltas), chunk(finish="tool_calls")).ends()

    def joined(heard: list[Delta]) -> list[Delta]:
        """Neighbouring texts as one: sentences are cut where they end."""
        told: list[Delta] = []
        for delta in heard:
            if told and delta.keys() == told[-1].keys() == {"content"}:
                told[-1] = {"content": told[-1]["content"] + delta["content"]}
            else:
                told.append(delta)
        return told

    assert joined(client.deltas()) == joined(deltas)


def test_tool_calls_wait_for_their_end_and_the_text_before_them_does_not() -> None:
    client = Client("sentences").takes(chunk("Let me see."), call("{}", id="a", name="f", index=0))
    assert client.deltas() == [{"content": "Let me see."}]
    client.takes(chunk(finish="tool_calls")).ends()
    assert len(client.deltas()) == 2


def logged(text: str, *tokens: str) -> dict[str, Any]:
    entries = [{"token": token, "logprob": -0.1} for token in tokens or [text]]
    return {
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": entries}, "finish_reason": None}],
    }


@RELEASES
def test_a_token_is_not_cut_from_what_is_told_about_it(release: str) -> None:
    """The space behind a sentence is the beginning of the next token."""
    client = Client(release).takes(
        logged("One"), logged("."), logged(" Two"), logged(". Three is"), logged(" here."), chunk(finish="stop")
    )
    client.ends()
    heard = [choice for choice in client.choices() if choice["delta"].get("content")]
    assert client.text == "One. Two. Three is here."
    for choice in heard:
        assert "".join(each["token"] for each in choice["logprobs"]["content"]) == choice["delta"]["content"]


@RELEASES
def test_the_first_chunk_of_a_choice_has_no_logprobs(release: str) -> None:
    """Node's client would add them twice."""
    first, *rest = Client(release).takes(logged("One. "), logged("Two."), chunk(finish="stop")).ends().choices()
    assert (first["delta"], first["logprobs"]) == ({"role": "assistant", "content": ""}, None)
    assert all("role" not in choice["delta"] for choice in rest)


def test_a_sentence_leaves_before_the_token_that_begins_the_next() -> None:
    client = Client("sentences").takes(logged("One"), logged("."))
    assert client.text == ""
    client.takes(logged(" Two"))
    assert client.text == "One."


@RELEASES
def test_logprobs_travel_with_their_text(release: str) -> None:
    client = Client(release).takes(
        logged("One"), logged(". "), logged("Two. Th", "Two", ". ", "Th"), logged("ree"), chunk(finish="stop")
    )
    client.ends()
    heard = [choice for choice in client.choices() if choice["delta"].get("content")]
    assert client.text == "One. Two. Three"
    for choice in heard:
        assert "".join(each["token"] for each in choice["logprobs"]["content"]) == choice["delta"]["content"]


@RELEASES
def test_what_a_choice_says_beside_its_text_is_not_lost(release: str) -> None:
    filtered = chunk("Hi. ")
    filtered["choices"][0]["content_filter_results"] = {"hate": {"filtered": False}}
    beside = said(content="There. ", annotations=[{"type": "url"}])
    client = Client(release).takes(chunk("Oh. "), filtered, beside, chunk(finish="stop")).ends()
    assert client.text == "Oh. Hi. There. "
    assert [choice["content_filter_results"] for choice in client.choices() if "content_filter_results" in choice]
    assert client.deltas()[-1] == {"content": "There. ", "annotations": [{"type": "url"}]}


@given(
    text=st.text(alphabet="ab. !?\n\u3002\u00e9", min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=30),
    deltas=st.lists(st.integers(1, 4), min_size=1, max_size=10),
    release=st.sampled_from(["tokens", "sentences"]),
)
def test_no_token_is_ever_cut_or_lost(text: str, cuts: list[int], deltas: list[int], release: str) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    tokens = [text[start:end] for start, end in pairwise(edges)]
    client, sizes = Client(release), iter(deltas * len(tokens))
    while tokens:
        size = next(sizes)
        said_now, tokens = tokens[:size], tokens[size:]
        client.takes(logged("".join(said_now), *said_now))
    client.takes(chunk(finish="stop")).ends()
    assert client.text == text
    for choice in client.choices():
        told = (choice["logprobs"] or {}).get("content") or ()
        assert "".join(each["token"] for each in told) == choice["delta"].get("content", "")

"""A chunk put together from bytes says what a chunk that is parsed and written anew would say."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.answer.template import Template
from tests.support.llm_stream import chunk
from tests.support.relay import Mailbox, relay_on

ENCODERS = {
    "tight": lambda value: orjson.dumps(value),
    "spaced": lambda value: json.dumps(value).encode(),
    "utf8": lambda value: json.dumps(value, ensure_ascii=False).encode(),
}
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.sampled_from(
        ['"', "\\", '\\"', '{"content":"x"}', '"}}],"content":"', "\n", "\r", "\u2028", "\U0001f389", "\x00"]
    ),
)


def told(payloads: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    """What a client hears of an upstream's payloads, and what counts as released."""
    mailbox = Mailbox()
    relay = relay_on(mailbox, "tokens")
    for payload in payloads:
        relay.take(payload)
    # As clients read it: an event stream is cut into lines before anything is parsed.
    lines = b"".join(frame.payload for frame in mailbox.frames[1:]).splitlines()
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
    assert relay.attempt.tokens == len(data)
    return [orjson.loads(message) for message in data], relay._frames.released_text


@pytest.mark.parametrize("encoder", ENCODERS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=12))
def test_every_text_is_told_as_it_was_heard(encoder: str, texts: list[str]) -> None:
    messages, released = told([ENCODERS[encoder](chunk(text)) for text in texts])
    assert released == "".join(texts)
    heard = [message["choices"][0]["delta"] for message in messages]
    assert heard == [{"role": "assistant", "content": texts[0]}, *({"content": text} for text in texts[1:])]
    assert {(message["id"], message["object"], message["created"]) for message in messages} == {
        ("chatcmpl-1", "chat.completion.chunk", 1_795_000_000)
    }


def test_what_differs_in_more_than_its_text_is_told_as_it_is() -> None:
    spoken = [chunk(f"w{number}") for number in range(8)]
    for number, each in enumerate(spoken):
        each["model"] = f"m{number // 2}"
        each["system_fingerprint"] = f"fp{number}"
    spoken.insert(4, chunk("tool", tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]))
    spoken.insert(6, {**chunk("logged"), "obfuscation": "abc"})
    messages, _ = told([orjson.dumps(each) for each in spoken])
    assert [message["model"] for message in messages] == [each["model"] for each in spoken]
    assert [message["choices"][0]["delta"]["content"] for message in messages] == [
        each["choices"][0]["delta"]["content"] for each in spoken
    ]
    assert messages[4]["choices"][0]["delta"]["tool_calls"]
    assert messages[6]["obfuscation"] == "abc"
    assert not any("system_fingerprint" in message for message in messages)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"choices":[{"delta":{"content":"a"},"logprobs":{"content":"b"}}]}',
        b'{"note":{"content":"a"},"choices":[{"delta":{"conten\\u0074":"b"}}]}',
        b'{"choices":[{"delta":{"content":null}}]}',
        b'{"choices":[{"delta":{"content":["a"]}}]}',
    ],
)
def test_nothing_is_learnt_where_the_text_is_not_certain(payload: bytes) -> None:
    assert Template.learn(payload, payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"choices":[{"delta":{"content":""}}]}',
        b'{"choices":[{"delta":{"content":"a\\"}}]}',
        b'{"choices":[{"delta":{"content":"a"},"x":"b"}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b'{"choices":[{"delta":{"content":"a\nb"}}]}',
        b'{"choices":[{"delta":{"content":"}}]}',
        b'{"choices":[{"delta":{"content":1}}]}',
    ],
)
def test_what_is_no_plain_text_is_left_to_the_parser(payload: bytes) -> None:
    plain = b'{"choices":[{"delta":{"content":"hi"}}]}'
    template = Template.learn(plain, b'{"id":"ours","choices":[{"delta":{"content":"hi"}}]}')
    assert template is not None
    assert template.fill(plain) == (b'{"id":"ours","choices":[{"delta":{"content":"hi"}}]}', "hi")
    assert template.fill(payload) is None

"""From the bytes of an upstream to the client's messages: however they are cut, the client hears the same."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bus.live.frames import FrameKind
from common.events.chat import Usage
from llm_stream.adapters.event_stream import EventLines
from llm_stream.answer.relay import Relay
from llm_stream.ports import UpstreamBroken
from tests.support.llm_stream import chunk, messages
from tests.support.relay import Mailbox, relay_on

TEXT = "Grüße. Zwei \u4f60\u597d\u3002 Drei \U0001f389 vier! Ende"


def payloads(packets: Sequence[bytes]) -> list[bytes]:
    lines = EventLines()
    return [payload for packet in packets for payload in lines.feed(packet)] + lines.end()


def said(packets: Sequence[bytes], release: str) -> list[bytes]:
    """What a client hears of these packets."""

    async def relayed() -> list[bytes]:
        mailbox = Mailbox()
        relay = relay_on(mailbox, release, include_usage=True)
        for payload in payloads(packets):
            relay.take(payload)
        relay.check_whole()
        relay.finish(Usage(total_tokens=3))
        relay._frames.delivery.flush()
        return mailbox.data()

    return asyncio.run(relayed())


def body(end: bytes = b"\n") -> bytes:
    parts = [chunk("", role="assistant"), *(chunk(part) for part in TEXT.split(" ")), chunk(finish="stop")]
    stream = b": a comment\n\nevent: message\n" + messages(*parts, b"[DONE]")
    return stream.replace(b"\n", end)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("release", ["tokens", "sentences"])
@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=30), end=st.sampled_from([b"\n", b"\r\n"]))
def test_any_cut_into_packets_is_heard_the_same(release: str, places: list[int], end: bytes) -> None:
    whole = said([body()], release)
    assert said(cut(body(end), places), release) == whole
    chunks = [orjson.loads(message) for message in whole[:-1]]
    text = "".join(choice["delta"].get("content", "") for each in chunks for choice in each["choices"])
    assert text == TEXT.replace(" ", "")
    assert whole[-1] == b"[DONE]"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_single_byte_may_come_alone(end: bytes) -> None:
    data = body(end)
    assert payloads([bytes([byte]) for byte in data]) == payloads([body()])


def test_a_last_line_without_an_end_is_heard() -> None:
    assert payloads([b"data: 1\n\nda", b"ta: 2"]) == [b"1", b"2"]


def take(relay: Relay, *chunks: dict[str, Any]) -> None:
    for each in chunks:
        relay.take(orjson.dumps(each))


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_nothing_is_promised_before_something_is_said(release: str) -> None:
    mailbox = Mailbox()
    relay = relay_on(mailbox, release)
    take(relay, chunk("", role="assistant"), chunk(""), {**chunk(), "choices": []}, chunk(tool_calls=[]))
    assert mailbox.frames == []
    take(relay, chunk("Hello. "))
    assert [frame.kind for frame in mailbox.frames] == [FrameKind.START, FrameKind.DATA]


async def test_held_text_counts_as_delivered_only_when_it_is_released() -> None:
    relay = relay_on(Mailbox(), "sentences")
    for piece in ["A", " long", " sentence", " that", " ends.", " And"]:
        take(relay, chunk(piece))
    assert relay._frames.released_text == "A long sentence that ends. "
    assert relay.attempt.tokens == 6
    assert 1 <= relay._frames.released_tokens <= 6
    take(relay, chunk(" on. It"))
    assert relay.attempt.tokens == 7 >= relay._frames.released_tokens


async def test_the_smallest_release_counts_as_delivered() -> None:
    relay = relay_on(Mailbox(), "sentences")
    take(relay, chunk("A. But this goes on and on and on"))
    assert relay._frames.released_tokens == 1


@pytest.mark.parametrize("chunks", [[chunk("Hi")], [chunk("Hi"), chunk("x", "stop", index=1)]])
async def test_a_stream_without_every_ending_is_broken(chunks: list[dict[str, Any]]) -> None:
    relay = relay_on(Mailbox(), "tokens", choices=len(chunks))
    take(relay, *chunks)
    relay.take(b"[DONE]")
    with pytest.raises(UpstreamBroken):
        relay.check_whole()


async def test_what_follows_done_is_not_heard() -> None:
    mailbox = Mailbox()
    relay = relay_on(mailbox, "tokens")
    take(relay, chunk("Hi"), chunk(finish="stop"))
    relay.take(b"[DONE]")
    relay.take(b"nonsense")
    take(relay, chunk("more"))
    relay.check_whole()
    assert len(mailbox.data()) == 1

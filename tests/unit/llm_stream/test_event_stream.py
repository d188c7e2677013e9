"""An event stream is read as the WHATWG describes it, and a little more leniently."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.adapters.event_stream import EventLines


def payloads(packets: Sequence[bytes]) -> list[bytes]:
    lines = EventLines()
    return [payload for packet in packets for payload in lines.feed(packet)] + lines.end()


STREAMS = {
    "three line ends": (b'data: {"a":1}\r\rdata: {"b":2}\n\ndata: [DONE]\r\n\r\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    "several lines": (b'data: {"a":\ndata: 1\ndata: }\n\n', [b'{"a":\n1\n}']),
    "lines in full": (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    "a byte order mark": (b'\xef\xbb\xbfdata: {"a":1}\n\n', [b'{"a":1}']),
    "a mark later is text": (b'data: {"a":1}\n\n\xef\xbb\xbfdata: {"b":2}\n\n', [b'{"a":1}']),
    "comments": (b': ping\n\n:\n\ndata: {"a":1}\n: more\n\n', [b'{"a":1}']),
    "other fields": (b'event: message\nid: 7\nretry: 5\nfoo: bar\nfoo\ndata: {"a":1}\n\n', [b'{"a":1}']),
    "data without a colon": (b'data\n\ndata\ndata: {"a":1}\n\n', [b'{"a":1}']),
    "no space, two spaces": (b'data:{"a":1}\n\ndata:  {"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
    "what only begins like it": (b'database: {"a":1}\n\nDATA: {"a":1}\n\n data: {"a":1}\n\n', []),
    "no end": (b'data: {"a":1}\n\ndata: {"b"', [b'{"a":1}', b'{"b"']),
    "no json": (b"data: hello\ndata: world\n\n", [b"hello\nworld"]),
    "empty": (b"", []),
    "line ends alone": (b"\r\n\r\n\n\r", []),
}  # fmt: skip


@pytest.mark.parametrize("stream", STREAMS)
def test_every_spelling_of_a_stream_is_understood(stream: str) -> None:
    data, expected = STREAMS[stream]
    assert payloads([data]) == expected
    assert payloads([bytes([byte]) for byte in data]) == expected


@given(st.data())
def test_any_cut_is_understood_the_same(data: st.DataObject) -> None:
    """Also a cut within a line end or the byte order mark."""
    stream, expected = data.draw(st.sampled_from(list(STREAMS.values())))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    packets = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert payloads(packets) == expected


def test_a_whole_payload_waits_for_nothing() -> None:
    lines = EventLines()
    assert lines.feed(b'data: {"a":1}\r') == [b'{"a":1}']
    assert lines.feed(b'\n\r\ndata: {"b":2}\n') == [b'{"b":2}']
    assert lines.feed(b"\ndata: [DONE]\n\n") == [b"[DONE]"]
    assert lines.end() == []

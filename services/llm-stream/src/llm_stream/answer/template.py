"""The shape of a stream's plain chunks, learnt from one of them.

From chunk to chunk an upstream repeats all but the text. Where the bytes around the text are those of a chunk that was
parsed before, they mean what they meant there: it is enough to look at the text, and to put the client's chunk
together from bytes. A chunk then costs a third less than parsed and written anew.
"""

import re
from typing import NamedTuple

import orjson

# A quotation mark within a text has a backslash before it, so nothing that a text says looks like this.
CONTENT = re.compile(rb'"content"\s*+:\s*+"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
PROBE = b"probe"
# The bytes around a text are few. To search a chunk of megabytes takes longer than it could ever spare.
MAX_CHUNK_BYTES = 16 * 1024


class _Around(NamedTuple):
    """The bytes before and after the text of a chunk, its quotation marks among them."""

    before: bytes
    after: bytes


class Template:
    """Turns an upstream's chunk into the client's where nothing but the text has changed."""

    def __init__(self, received: _Around, sent: _Around) -> None:
        self._received = received
        self._sent = sent
        self._empty = len(received.before) + len(received.after)

    @classmethod
    def learn(cls, received: bytes, sent: bytes) -> "Template | None":
        """From a chunk as it came and as it was passed on, both valid; None where their text cannot be cut out."""
        if len(received) > MAX_CHUNK_BYTES or len(sent) > MAX_CHUNK_BYTES:
            return None
        around_received, around_sent = _around(received), _around(sent)
        return cls(around_received, around_sent) if around_received and around_sent else None

    def fill(self, received: bytes) -> tuple[bytes, str] | None:
        """The client's chunk and its text; None for a chunk of another shape, or without text."""
        before, after = self._received
        if not (received.startswith(before) and received.endswith(after)) or len(received) <= self._empty:
            return None
        written = received[len(before) : len(received) - len(after)]
        try:
            text = orjson.loads(b'"%b"' % written)
        except orjson.JSONDecodeError:
            return None
        return self._sent.before + written + self._sent.after, text


def _around(chunk: bytes) -> _Around | None:
    """What surrounds `choices[0].delta.content`, if that is the only content in there."""
    texts = list(CONTENT.finditer(chunk))
    if len(texts) != 1:
        return None
    around = _Around(chunk[: texts[0].start(1)], chunk[texts[0].end(1) :])
    try:
        probed = orjson.loads(around.before + PROBE + around.after)
    except orjson.JSONDecodeError:
        # It was read by a more lenient parser.
        return None
    return around if probed["choices"][0]["delta"].get("content") == PROBE.decode() else None

"""What a record in hand costs in memory, by estimate: parsed, JSON takes between half and thirty times its bytes."""

from common.events.record import Received

# Measured with CPython and pydantic: bytes for a value between two commas (a short text, a number), and for a list or
# object with what it holds (ADR 0017 has the figures).
VALUE_BYTES = 72
CONTAINER_BYTES = 192
# Of one character beyond Latin-1 in a text, each of its characters takes four bytes.
WIDE = 4
# A large record as it came, written out for an upstream, and on its way through the buffers of both sockets.
COPIES = 4
# A record below this is not looked into: a thousand of them are what a consumer takes at most.
SMALL_BYTES = 4096
SMALL_FACTOR = 16


def weigh(record: Received) -> int:
    """Bytes that a record takes until it is finished: as it came, parsed, and written out once more."""
    return weigh_json(record.value)


def weigh_json(value: bytes) -> int:
    """The same for JSON by itself."""
    size = len(value)
    if size <= SMALL_BYTES:
        return SMALL_FACTOR * size
    texts = size if value.isascii() else WIDE * size
    containers = value.count(b"[") + value.count(b"{")
    return COPIES * size + texts + VALUE_BYTES * value.count(b",") + CONTAINER_BYTES * containers

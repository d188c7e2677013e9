"""Frames: numbered messages to waiting requests, many of them packed into one entry of a stream."""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

_HEADER = struct.Struct("<IBBI")  # payload length, kind, request id length, number


class FrameKind(IntEnum):
    """What a frame means to its reader."""

    START = 1  # JSON: response headers; the answer has begun
    DATA = 2  # bytes to hand on as they are
    END = 3  # JSON: how it ended
    REPLY = 4  # JSON: {"status": int, "body": ...}, the whole reply to a request


class Frame(NamedTuple):
    """One numbered message to one waiting request; numbers start at 1 and have no gaps."""

    request_id: str
    kind: int
    number: int
    payload: bytes


def pack(frames: Sequence[Frame]) -> bytes:
    """The frames as bytes, one after the other, each with its lengths in front."""
    parts = []
    for frame in frames:
        name = frame.request_id.encode()
        parts += [_HEADER.pack(len(frame.payload), frame.kind, len(name), frame.number), name, frame.payload]
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[Frame]:
    """The inverse of `pack`."""
    at, size = 0, _HEADER.size
    while at < len(data):
        length, kind, name_length, number = _HEADER.unpack_from(data, at)
        name_end = at + size + name_length
        yield Frame(data[at + size : name_end].decode(), kind, number, data[name_end : name_end + length])
        at = name_end + length


def repeated_head(frames: Sequence[Frame]) -> list[Frame]:
    """The START frame with number 0, for a reader who resumes behind it; empty where there is none."""
    return [frame._replace(number=0) for frame in frames[:1] if frame.kind == FrameKind.START]

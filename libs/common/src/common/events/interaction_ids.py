"""Ids of interactions: UUIDs of version 7 (RFC 9562), whose time tells the day on which they are stored."""

import hashlib
import os
import re
from datetime import UTC, date, datetime

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MAX_MS = 2**48 - 1


def new_id(at: float) -> str:
    """A fresh id of this moment (unix seconds)."""
    return _written(at, os.urandom(10))


def derived_id(at: float, *parts: str) -> str:
    """The id of something that has a name of its own: the same for the same moment and parts."""
    return _written(at, hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=10).digest())


def _written(at: float, rest: bytes) -> str:
    milliseconds = max(0, min(round(at * 1000), MAX_MS))
    bits = int.from_bytes(rest)
    value = milliseconds << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def moment_of(id: str) -> float:
    """The unix seconds in an id that `UUID7` matches."""
    return int(id[:8] + id[9:13], 16) / 1000


def day_of(id: str) -> date:
    """The UTC day in an id of a moment that a calendar knows. Raises ValueError, OverflowError."""
    return datetime.fromtimestamp(moment_of(id), UTC).date()

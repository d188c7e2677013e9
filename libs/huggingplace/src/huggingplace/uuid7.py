"""UUIDs of version 7 (RFC 9562): ids that sort by the time they were made at."""

from __future__ import annotations

import os
import re
import time

_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


def uuid7(at: float | None = None) -> str:
    """A new id: 48 bits of milliseconds, 12 bits of the rest of the millisecond, 62 random bits.

    `at` is the moment in it, in unix seconds; now where there is none. The random bits come from the system, so two
    forks of a process never make the same id.
    """
    millis, nanos = divmod(time.time_ns() if at is None else int(at * 1_000_000_000), 1_000_000)
    fraction = (nanos << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    digits = "%032x" % (millis << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid7(given: str) -> bool:
    """Whether a text is a UUID of version 7 in its usual writing."""
    return _SHAPE.fullmatch(given) is not None

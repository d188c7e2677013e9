"""Which parts of a file a request asks for (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

# A player asks for one, a download manager for a few. Many small ones cost more than the whole file.
MAX_RANGES = 16
SPEC = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to `end`, which is not among them."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The header of a part of a file of `size` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted_ranges(header: str | None, size: int) -> list[ByteRange] | None:
    """The parts to send, in the order asked for; None for the whole file, an empty list where there are none of them.

    What is not understood is as if it were not there, as the RFC has it. So are more than `MAX_RANGES`, and parts that
    are together more than the file.
    """
    unit, separator, specs = (header or "").partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    texts = [text.strip() for text in specs.split(",", MAX_RANGES + 1)]
    texts = [text for text in texts if text]
    if not 0 < len(texts) <= MAX_RANGES:
        return None
    found = []
    for text in texts:
        spec = SPEC.fullmatch(text)
        if spec is None or spec[0] == "-" or _backwards(spec[1], spec[2]):
            return None
        part = _part(spec[1], spec[2], size)
        if part.length > 0:
            found.append(part)
    return None if sum(part.length for part in found) > size else found


def _backwards(first: str, last: str) -> bool:
    return bool(first and last) and int(last) < int(first)


def _part(first: str, last: str, size: int) -> ByteRange:
    if not first:
        return ByteRange(max(0, size - int(last)), size)
    end = size if not last else min(int(last) + 1, size)
    return ByteRange(int(first), max(end, int(first)) if int(first) < size else int(first))

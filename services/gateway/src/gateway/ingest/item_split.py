"""A batch that cannot be read as a whole, taken apart: what is wrong with one item harms no other."""

import re
from collections.abc import Iterator
from typing import Any

from common.failures import Refused
from gateway.http.json_bounds import check_depth, load, parse_json

# A string with whatever it holds, or a mark of the structure. What stands between them says nothing about it.
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]', re.DOTALL)
# Of a body that is beyond repair not all is looked at.
MAX_TOKENS = 1_500_000
# The body and its list are two levels.
OUTER_LEVELS = 2
OPENING, CLOSING = frozenset(b"[{"), frozenset(b"]}")


class _Unclear(Exception):
    """Where the items begin and end cannot be told."""


def split_batch(body: bytes, name: bytes, max_depth: int) -> tuple[dict[str, Any], list[Any]] | None:
    """What stands beside the list `name` in the object, and its items, each read by itself: a `Refused` for one that
    cannot be read. None where the list cannot be found.
    """
    try:
        spans = list(_spans(body, b'"' + name + b'"'))
    except _Unclear:
        return None
    (start, end), items = spans[-1], spans[:-1]
    try:
        outer = parse_json(body[:start] + b"[]" + body[end:])
    except Refused:
        return None
    return outer, [_read(body[first:last], max_depth - OUTER_LEVELS) for first, last in items]


def _read(item: bytes, max_depth: int) -> Any:
    try:
        value = load(item, max_depth=max_depth)
        check_depth(item, max_depth)
    except Refused as refused:
        return refused
    return value


def _spans(body: bytes, name: bytes) -> Iterator[tuple[int, int]]:
    """Where each item stands, and last the whole list."""
    depth, previous, before, start, item = 0, b"", b"", -1, -1
    for count, found in enumerate(TOKEN.finditer(body)):
        if count > MAX_TOKENS:
            raise _Unclear
        token, at = found[0], found.start()
        if token[0] in OPENING:
            if start < 0 and depth == 1 and token == b"[" and (before, previous) == (name, b":"):
                start, item = at, at + 1
            depth += 1
        elif token[0] in CLOSING:
            depth -= 1
            if start >= 0 and depth == 1:
                if body[item:at].strip():
                    yield item, at
                yield start, found.end()
                return
        elif token == b"," and start >= 0 and depth == OUTER_LEVELS:
            yield item, at
            item = found.end()
        before, previous = previous, token
    raise _Unclear

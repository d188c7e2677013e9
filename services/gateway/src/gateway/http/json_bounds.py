"""JSON bodies, bounded in what parsing them may cost."""

from typing import Any

import orjson

from common.failures import Refused
from gateway.http import errors

# No honest request nests deeper; recursive code behind us stays far from its limits.
MAX_DEPTH = 64
# Bounds what parsing may cost: several times the largest conversation, a fifth of a second at worst.
MAX_CONTAINERS = 250_000

# Brackets of both kinds become one kind; everything but brackets and quotes goes.
_FOLD = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def parse_json(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object that `body` is, at most `max_depth` levels deep; raises Refused 400."""
    brackets = body.count(b"[") + body.count(b"{")
    if brackets > MAX_CONTAINERS and len(_structure(body)) > 2 * MAX_CONTAINERS:
        raise errors.bad_request(
            f"The request body holds more than {MAX_CONTAINERS} lists and objects.", code="too_many"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The parser has a limit of its own, far above ours, and reports it like bad syntax.
        raise _too_deep(max_depth) if _nests_deeper(body, max_depth) else _not_json(body, error) from None
    if not isinstance(value, dict):
        raise errors.bad_request("The request body must be a JSON object.", code="invalid_json")
    if brackets > max_depth and _is_deeper(value, max_depth):
        raise _too_deep(max_depth)
    return value


def _too_deep(max_depth: int) -> Refused:
    return errors.bad_request(f"The request body is nested more than {max_depth} levels deep.", code="too_deep")


def _is_deeper(value: dict[str, Any], max_depth: int) -> bool:
    """Whether a parsed document nests deeper than `max_depth`; one pass a level, no recursion."""
    level: list[Any] = [value]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (dict, list)
        ]
        if not level:
            return False
    return True


def _nests_deeper(body: bytes, max_depth: int) -> bool:
    """The same for text too deep to be parsed; text that is not JSON may pass.

    Peels one level a step by removing empty pairs, at the speed of `bytes.replace`.
    """
    brackets = _structure(body)
    for _ in range(max_depth):
        before, brackets = len(brackets), brackets.replace(b"[]", b"")
        if len(brackets) == before:
            return False
    return bool(brackets)


def _structure(body: bytes) -> bytes:
    """The brackets of a JSON text, both kinds as one, without those inside its strings."""
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_FOLD, _NOT_STRUCTURE)
    return b"".join(bare.split(b'"')[::2])


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> Refused:
    return errors.bad_request(_why_not_json(body, error), code="invalid_json")


def _why_not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return "The request body is empty; a JSON object is expected."
    try:
        body.decode()
    except UnicodeDecodeError:
        return "The request body is not valid UTF-8."
    return f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."

"""JSON bodies, bounded in what parsing them may cost."""

import gc
from typing import Any

import orjson

from common.failures import Refused
from gateway.http import errors

# No honest request nests deeper; recursive code behind us stays far from its limits.
MAX_DEPTH = 64
# Both bound what one step of the work on a body costs, to some fifty milliseconds: several times the largest
# conversation.
MAX_CONTAINERS = 250_000
MAX_FIELDS = 250_000

# Brackets of both kinds become one kind; everything but brackets and quotes goes.
_FOLD = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_NOT_COLONS = bytes(set(range(256)) - set(b':"'))


def parse_json(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object that `body` is, at most `max_depth` levels deep; raises Refused 400."""
    value = load(body, max_depth=max_depth)
    check_depth(body, max_depth)
    return value


def check_cost(body: bytes) -> None:
    """Raises Refused 400 for a text that would be dear to parse, whatever it is."""
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS and len(_structure(body)) > 2 * MAX_CONTAINERS:
        raise _too_many(f"{MAX_CONTAINERS} lists and objects")
    if body.count(b":") > MAX_FIELDS and len(_outside_strings(body, _NOT_COLONS)) > MAX_FIELDS:
        raise _too_many(f"{MAX_FIELDS} fields")


def _too_many(what: str) -> Refused:
    return errors.bad_request(f"The request body holds more than {what}.", code="too_many")


def load(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object that `body` is, however deep the parser goes; raises Refused 400."""
    check_cost(body)
    try:
        value = _parsed(body)
    except orjson.JSONDecodeError as error:
        # The parser has a limit of its own, far above ours, and reports it like bad syntax.
        raise _too_deep(max_depth) if _nests_deeper(body, max_depth) else _not_json(body, error) from None
    if not isinstance(value, dict):
        raise errors.bad_request("The request body must be a JSON object.", code="invalid_json")
    return value


def _parsed(body: bytes) -> Any:
    # JSON holds no cycles: to look for some while very many containers are made takes as long as making them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if collecting:
            gc.enable()


def check_depth(body: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raises Refused 400 where a JSON text nests deeper."""
    if body.count(b"[") + body.count(b"{") > max_depth and _nests_deeper(body, max_depth):
        raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> Refused:
    return errors.bad_request(f"The request body is nested more than {max_depth} levels deep.", code="too_deep")


def _nests_deeper(body: bytes, max_depth: int) -> bool:
    """Whether a JSON text nests deeper than `max_depth`, also one too deep to be parsed; what is no JSON may pass.

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
    return _outside_strings(body.translate(_FOLD), _NOT_STRUCTURE)


def _outside_strings(body: bytes, without: bytes) -> bytes:
    """A JSON text without its strings and without these bytes, which leave the quotes."""
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, without)
    # Two quotes side by side leave what is inside and what is outside as it was: few are left to be split at.
    return b"".join(bare.replace(b'""', b"").split(b'"')[::2])


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

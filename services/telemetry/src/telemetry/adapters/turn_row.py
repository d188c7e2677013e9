"""A turn as its table takes it: whatever its fact can hold has a place there, if need be the nearest one."""

import hashlib
import math
from typing import Any

import orjson

from common.events.chat import AnswerEnded, ChatReplyEnded
from telemetry.ports import Outcome

# What every reader of JSON keeps exactly; the sum of very many still fits a numeric column.
MAX_COUNT = 2**53 - 1
# Beyond any sum of dollars, and far from the end of a float.
MAX_COST = 1e12
# The last second of the year 9998: PostgreSQL and Python both know it.
MAX_SECONDS = 253_370_764_799.0
# What an index takes is about 2,700 bytes for all its columns.
MAX_INDEXED_BYTES = 1_000
INDEXED = ("request_id", "org_id")
TIMES = ("received_at", "started_at", "first_token_at", "finished_at")


def encode(end: AnswerEnded, outcome: Outcome) -> bytes:
    """A turn as a JSON object of what the table wants."""
    turn = {**_kind(end), **end.model_dump(), "outcome": outcome}
    usage = turn["usage"]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        usage[count] = max(-MAX_COUNT, min(usage[count], MAX_COUNT))
    turn["cost_usd"] = between(turn["cost_usd"], -MAX_COST, MAX_COST)
    for moment in TIMES:
        if turn.get(moment) is not None:
            turn[moment] = between(turn[moment], 0.0, MAX_SECONDS)
    for name in INDEXED:
        turn[name] = _indexed(turn[name])
    try:
        encoded = orjson.dumps(turn)
    except orjson.JSONEncodeError:
        encoded = orjson.dumps(_storable(turn))
    # The escape may also be part of a text about escapes; only then is the second pass in vain.
    return orjson.dumps(without_nul(orjson.loads(encoded))) if rb"\u0000" in encoded else encoded


def _kind(end: AnswerEnded) -> dict[str, Any]:
    """What a turn is of, and what the table wants of it that is not said of embeddings."""
    if isinstance(end, ChatReplyEnded):
        return {"operation": "chat"}
    return {"operation": "embeddings", "session_id": end.request_id, "stream": False}


def between(value: float, least: float, most: float) -> float:
    """The nearest value there is a place for."""
    return max(least, min(value, most)) if math.isfinite(value) else 0.0


def _indexed(text: str) -> str:
    """The text; one that is too long for an index is its beginning and its digest, which are as good as a name."""
    if len(text) <= MAX_INDEXED_BYTES // 4:
        return text
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_INDEXED_BYTES:
        return text
    return f"{text[:100]}…{hashlib.sha256(encoded).hexdigest()}"


def _storable(value: Any) -> Any:
    """The same value without what JSON cannot hold: integers past 64 bits, halves of characters."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-MAX_COUNT, min(value, MAX_COUNT))
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def without_nul(value: Any) -> Any:
    """The same JSON value with U+FFFD for every NUL, the one character PostgreSQL cannot keep in a text."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    return value

"""The fields of an interaction: what `log` takes, how each is checked, and what it is called on the wire."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, TypedDict, Union

from huggingplace.errors import ValidationError
from huggingplace.uuid7 import is_uuid7, uuid7

Moment = Union[datetime.datetime, float, int]
ScoreValue = Union[float, int, bool, str]
# A response time that is longer moves no moment further back.
MOST_RESPONSE_SECONDS = 3600.0
STATUSES = ("ok", "error", "interrupted")
MOST_TAGS = 50
MOST_TOKENS = 10**12
# From the year 2000 on; what is no moment of our time is a mistake of unit.
_EARLIEST, _LATEST = 946_684_800.0, 32_503_680_000.0


class SessionFields(TypedDict, total=False):
    """What `log` takes in a session; one of `user_prompt`, `response` and `error` has to be there."""

    # What was asked and what was answered: a text, or anything that JSON has a shape for, such as a list of messages.
    user_prompt: Any
    response: Any
    # Free.
    metadata: Mapping[str, Any]
    user_metadata: Mapping[str, Any]
    # Who, where and with what.
    user_id: str
    project_id: str
    file_name: str
    llm_model: str
    provider: str
    # The total, or {"prompt": …, "completion": …, "total": …, "cached": …}; the four fields below win over it.
    token_count: int | Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cost_usd: float
    # Steps as objects; those of the current session or trace are added by themselves.
    step_data: Sequence[Any]
    # Milliseconds, of the whole and up to the first token.
    response_time: float
    first_token_ms: float
    # When it began: a datetime with a zone, or unix seconds. Now where it is not given.
    timestamp: Moment
    # "ok", "error" or "interrupted".
    status: str
    error: str | Mapping[str, Any] | BaseException
    # Why the model ended: "stop", "length", "tool_calls", …
    finish_reason: str
    tags: Sequence[str]
    environment: str
    release: str
    prompt_version: str
    # Names and values; each becomes a score of its own.
    scores: Mapping[str, ScoreValue]
    # The trace that this belongs to; that of the context where it is not given.
    trace_id: str
    span_id: str
    parent_id: str
    # A UUID of version 7; a new one where it is not given.
    id: str


class LogFields(SessionFields, total=False):
    """What `log` takes."""

    session_id: str


Check = Callable[[str, Any], Any]


class _Field(NamedTuple):
    wire: str
    check: Check


def _anything(_name: str, value: Any) -> Any:
    return value


def _text(most: int) -> Check:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"{name} must be a text, not {type(value).__name__}.", name)
        if len(value) > most:
            raise ValidationError(f"{name} has {len(value)} characters, of at most {most}.", name)
        return value

    return check


def _object(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} must be a mapping, not {type(value).__name__}.", name)
    return value


def _tokens(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_TOKENS:
        raise ValidationError(f"{name} must be a number of tokens, not {value!r:.100}.", name)
    return value


def _token_count(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _tokens(name, value)
    return {part: _tokens(f"{name}.{part}", number) for part, number in value.items() if number is not None}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise ValidationError(f"{name} must be a number from 0 on, not {value!r:.100}.", name)
    return value


def _sequence(name: str, value: Any) -> Any:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValidationError(f"{name} must be a list, not {type(value).__name__}.", name)
    return value


def _tags(name: str, value: Any) -> list[str]:
    tags = list(_sequence(name, value))
    if len(tags) > MOST_TAGS:
        raise ValidationError(f"{name} has {len(tags)} tags, of at most {MOST_TAGS}.", name)
    check = _text(200)
    return [check(f"{name}.{number}", tag) for number, tag in enumerate(tags)]


def _status(name: str, value: Any) -> str:
    if value not in STATUSES:
        raise ValidationError(f"{name} must be one of {', '.join(STATUSES)}, not {value!r:.100}.", name)
    return str(value)


def _error(name: str, value: Any) -> Any:
    if isinstance(value, BaseException):
        return error_of(value)
    if not isinstance(value, (str, Mapping)):
        raise ValidationError(f"{name} must be a text, a mapping or an exception, not {type(value).__name__}.", name)
    return value


def _id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not is_uuid7(value):
        raise ValidationError(f"{name} must be a UUID of version 7 in its usual writing, not {value!r:.100}.", name)
    return value.lower()


def moment(name: str, value: Any) -> float:
    """Unix seconds of a moment; raises ValidationError."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise ValidationError(f"{name} has no time zone.", name)
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _EARLIEST < value < _LATEST:
        raise ValidationError(f"{name} must be a datetime with a zone, or unix seconds, not {value!r:.100}.", name)
    return float(value)


FIELDS: dict[str, _Field] = {
    "user_prompt": _Field("user_prompt", _anything),
    "response": _Field("ai_response", _anything),
    "metadata": _Field("metaData", _object),
    "user_metadata": _Field("user_meta_data", _object),
    "user_id": _Field("user_id", _text(256)),
    "session_id": _Field("session_id", _text(256)),
    "project_id": _Field("project_id", _text(256)),
    "file_name": _Field("file_name", _text(1024)),
    "llm_model": _Field("llm_model", _text(256)),
    "provider": _Field("provider", _text(256)),
    "token_count": _Field("token_count", _token_count),
    "prompt_tokens": _Field("prompt_tokens", _tokens),
    "completion_tokens": _Field("completion_tokens", _tokens),
    "total_tokens": _Field("total_tokens", _tokens),
    "cached_tokens": _Field("cached_tokens", _tokens),
    "cost_usd": _Field("cost_usd", _number),
    "step_data": _Field("step_data", _sequence),
    "response_time": _Field("response_time", _number),
    "first_token_ms": _Field("first_token_ms", _number),
    "timestamp": _Field("timestamp", moment),
    "status": _Field("status", _status),
    "error": _Field("error", _error),
    "finish_reason": _Field("finish_reason", _text(64)),
    "tags": _Field("tags", _tags),
    "environment": _Field("environment", _text(200)),
    "release": _Field("release", _text(200)),
    "prompt_version": _Field("prompt_version", _text(256)),
    "trace_id": _Field("trace_id", _text(64)),
    "span_id": _Field("span_id", _text(64)),
    "parent_id": _Field("parent_id", _text(64)),
    "id": _Field("id", _id),
}
_CONTENT = ("user_prompt", "response", "error")


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they go on the wire; those of None are left out. Raises ValidationError, which names the field."""
    item: dict[str, Any] = {}
    for name, value in given.items():
        field = FIELDS.get(name)
        if field is None:
            raise ValidationError(f"log takes no {name!r}.", name)
        if value is not None:
            item[field.wire] = field.check(name, value)
    return item


def interaction(given: Mapping[str, Any]) -> dict[str, Any]:
    """A whole interaction of what `log` was given, with its id and its moment. Raises ValidationError."""
    item = checked(given)
    if not any(FIELDS[name].wire in item for name in _CONTENT):
        raise ValidationError("log needs a user_prompt, a response or an error.", "user_prompt")
    if "timestamp" not in item:
        # It began before it took its time.
        item["timestamp"] = time.time() - min(item.get("response_time", 0.0) / 1000, MOST_RESPONSE_SECONDS)
    # The server wants the time in an id to be about that of the interaction.
    item.setdefault("id", uuid7(item["timestamp"]))
    return item


def score(interaction_id: str, name: str, value: ScoreValue, **given: Any) -> dict[str, Any]:
    """A score as it goes on the wire. Raises ValidationError."""
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise ValidationError("name must be a text of 1 to 100 characters.", "name")
    if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValidationError(f"value must be a number, a text or a truth value, not {value!r:.100}.", "value")
    if isinstance(value, str):
        _text(1000)("value", value)
    checks: dict[str, Check] = {
        "comment": _text(10_000),
        "source": _text(64),
        "user_id": _text(256),
        "metadata": _object,
        "timestamp": moment,
        "id": _id,
    }
    item = {field: checks[field](field, entry) for field, entry in given.items() if entry is not None}
    item.setdefault("id", uuid7(item.get("timestamp")))
    return {
        "kind": "score",
        "interaction_id": _id("interaction_id", interaction_id),
        "name": name,
        "value": value,
        **item,
    }


def error_of(error: BaseException) -> dict[str, Any]:
    """What is kept of an exception: its type, and what it says."""
    found: dict[str, Any] = {"type": type(error).__name__, "message": str(error)[:2000]}
    for name in ("status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, (int, str)):
            found[name] = value
    return found


def score_pairs(given: Any) -> Sequence[tuple[str, ScoreValue]]:
    """Scores that came with an interaction; raises ValidationError."""
    return tuple(_object("scores", given).items()) if given is not None else ()

"""Steps as rows: nested ones flat, in their order, each with the step it belongs to."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from common.events.interaction_items import MAX_STEP_DEPTH, MAX_STEPS, moment
from telemetry.row_shapes import utc

NAMES = {"started_at", "ended_at", "duration_ms", "id", "parent_id", "name", "type", "input", "output", "status",
         "error", "metadata", "steps", "startedAt", "endedAt", "durationMs", "parentId", "kind"}  # fmt: skip
MAX_NAME = 256
MAX_SHORT = 64
# The years that a step may name: a clock that is off is told, and no reason to lose the step.
FIRST, LAST = 0.0, 4_102_444_800.0


class Owner(NamedTuple):
    """Whose steps they are."""

    keep: int
    day: Any
    org_id: str
    mode: str
    id: str
    interaction_id: str | None
    trace_id: str | None
    session_id: str | None
    user_id: str | None


def json_text(value: Any) -> str | None:
    """As a column of JSON takes it."""
    return None if value is None else orjson.dumps(value).decode()


def step_rows(data: Any, owner: Owner) -> list[tuple[Any, ...]]:
    """A row for each step in what a caller gave as steps, whatever it is; past `MAX_STEPS` the rest is left out."""
    given = data if isinstance(data, list) else [] if data is None else [data]
    rows: list[tuple[Any, ...]] = []
    for step, parent, depth in _flat(given):
        if len(rows) >= MAX_STEPS:
            break
        rows.append(step_row(step, owner, len(rows), parent, deep=depth >= MAX_STEP_DEPTH))
    return rows


def _flat(given: list[Any]) -> Iterator[tuple[Any, str | None, int]]:
    """Each step before those within it, with the id of the one around it."""
    waiting: list[tuple[Any, str | None, int, str]] = [
        (step, None, 1, str(number)) for number, step in reversed(list(enumerate(given, 1)))
    ]
    while waiting:
        step, parent, depth, place = waiting.pop()
        if isinstance(step, dict):
            step = {"id": place, **{name: value for name, value in step.items() if value is not None}}
        else:
            step = {"id": place, "name": f"step {place}", "output": step}
        yield step, parent, depth
        inner = step.get("steps")
        if isinstance(inner, list) and depth < MAX_STEP_DEPTH:
            around = _short(step["id"])
            waiting += [
                (each, around, depth + 1, f"{place}.{number}") for number, each in reversed(list(enumerate(inner, 1)))
            ]


def step_row(
    step: Mapping[str, Any], owner: Owner, position: int, parent: str | None, *, deep: bool = False
) -> tuple[Any, ...]:
    """One step. What stands in it beside the known names is kept with its metadata."""
    began = _moment(step.get("started_at", step.get("startedAt", step.get("timestamp"))))
    ended = _moment(step.get("ended_at", step.get("endedAt")))
    took = step.get("duration_ms", step.get("durationMs"))
    if not isinstance(took, (int, float)) or isinstance(took, bool) or not 0 <= took < 1e12:
        took = (ended - began).total_seconds() * 1000 if began is not None and ended is not None else None
    metadata = step.get("metadata")
    other = {name: value for name, value in step.items() if name not in NAMES}
    if deep and step.get("steps"):
        other["steps"] = step["steps"]
    if not isinstance(metadata, dict):
        metadata = {} if metadata is None else {"metadata": metadata}
    name, status = step.get("name"), step.get("status")
    error = step.get("error")
    return (
        owner.keep,
        owner.day,
        owner.org_id,
        owner.mode,
        owner.id,
        position,
        owner.interaction_id,
        _short(step["id"]),
        _short(step.get("parent_id", step.get("parentId", parent))),
        owner.trace_id,
        owner.session_id,
        owner.user_id,
        (name if isinstance(name, str) and name else f"step {position + 1}")[:MAX_NAME],
        _short(step.get("type")),
        began,
        took,
        json_text(step.get("input")),
        json_text(step.get("output")),
        status if status in ("ok", "error") else "error" if error is not None else None,
        json_text(error),
        json_text({**metadata, **other} or None),
    )


def _short(value: Any) -> str | None:
    return None if value is None else (value if isinstance(value, str) else json_text(value) or "")[:MAX_SHORT]


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, (dict, list)):
        return None
    try:
        seconds = moment(value)
    except ValueError:
        return None
    return utc(seconds) if isinstance(seconds, (int, float)) and FIRST <= seconds < LAST else None

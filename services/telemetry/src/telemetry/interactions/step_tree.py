"""Steps as a tree: each within the one it names as its parent, under the interaction it belongs to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from common.events.interaction_queries import StepNode

# Spans of a trace name each other in any order, and perhaps in a circle.
MAX_DEPTH = 32

Row = Mapping[str, Any]


def nested(page: Sequence[Row], steps: Sequence[Row], most: int) -> dict[str, tuple[StepNode, ...]]:
    """The outermost steps of each interaction by its id, in the order in which they were told or began.

    A step that was reported alone belongs to the interaction of its trace whose span is its parent, else to the first
    of that trace. Values longer than `most` characters are cut.
    """
    owners = _owners(page)
    by_owner: dict[str, list[Row]] = defaultdict(list)
    for step in steps:
        by_owner[_owner(step, owners)].append(step)
    return {str(row["id"]): _tree(by_owner.get(str(row["id"]), []), most) for row in page}


def _owners(page: Sequence[Row]) -> dict[tuple[str, str | None], str]:
    """The interaction of a span, and of a trace as a whole."""
    owners: dict[tuple[str, str | None], str] = {}
    for row in page:
        if row["trace_id"] is not None:
            owners.setdefault((row["trace_id"], None), str(row["id"]))
            if row["span_id"] is not None:
                owners.setdefault((row["trace_id"], row["span_id"]), str(row["id"]))
    return owners


def _owner(step: Row, owners: Mapping[tuple[str, str | None], str]) -> str:
    if step["interaction_id"] is not None:
        return str(step["interaction_id"])
    trace = step["trace_id"]
    return owners.get((trace, step["parent_id"])) or owners.get((trace, None), "")


def _tree(steps: Sequence[Row], most: int) -> tuple[StepNode, ...]:
    steps = sorted(steps, key=_order)
    known = {step["step_id"] for step in steps}
    children: dict[str, list[Row]] = defaultdict(list)
    roots: list[Row] = []
    for step in steps:
        parent = step["parent_id"]
        if parent in known and parent != step["step_id"]:
            children[parent].append(step)
        else:
            roots.append(step)
    told: set[int] = set()
    # Steps that name one another in a circle have no root: they are told side by side.
    found = [_node(step, children, most, told, 1) for step in roots]
    found += [_node(step, {}, most, told, 1) for step in steps if id(step) not in told]
    return tuple(found)


def _order(step: Row) -> tuple[str, int]:
    """As they were told within an interaction; those that were reported alone by when they began."""
    began = step["at"].isoformat() if step["interaction_id"] is None and step["at"] is not None else ""
    return began, step["position"]


def _node(step: Row, children: Mapping[str, list[Row]], most: int, told: set[int], depth: int) -> StepNode:
    told.add(id(step))
    inner = children.get(step["step_id"], []) if depth < MAX_DEPTH else []
    values = {name: step[name] for name in ("input", "output")}
    cut = any(value is not None and len(value) > most for value in values.values())
    return StepNode(
        id=step["step_id"],
        parent_id=step["parent_id"],
        name=step["name"],
        type=step["type"],
        at=None if step["at"] is None else step["at"].timestamp(),
        duration_ms=step["duration_ms"],
        **{name: _value(value, most) for name, value in values.items()},
        status=step["status"],
        error=_value(step["error"], most),
        metadata=_value(step["metadata"], most),
        steps=tuple(_node(each, children, most, told, depth + 1) for each in inner if id(each) not in told),
        **({"cut": True} if cut else {}),
    )


def _value(written: str | None, most: int) -> Any:
    """The JSON value; of one that is too long its beginning, as a text."""
    if written is None:
        return None
    return written[:most] if len(written) > most else orjson.loads(written)

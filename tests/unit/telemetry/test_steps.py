"""Steps become rows and a tree again, whatever callers give as steps."""

from datetime import UTC, date, datetime
from typing import Any

from common.events.interaction_items import MAX_STEP_DEPTH, MAX_STEPS
from telemetry.interactions.step_rows import Owner, step_rows
from telemetry.interactions.step_tree import nested
from telemetry.row_shapes import STEP_COLUMNS

ID = "018f3c2a-1111-7222-8333-444455556666"
OWNER = Owner(90, date(2026, 11, 29), "org-1", "prod", ID, ID, "trace-1", None, None)
TURN = {"id": ID, "trace_id": "trace-1", "span_id": "span-1"}


def rows(data: Any) -> list[dict[str, Any]]:
    return [dict(zip(STEP_COLUMNS, row, strict=True)) for row in step_rows(data, OWNER)]


def shape(steps: Any) -> list[Any]:
    return [(step.name, shape(step.steps)) for step in steps]


def tree(found: list[dict[str, Any]]) -> list[Any]:
    return shape(nested([TURN], found, 1_000)[ID])


def test_nested_steps_are_flat_in_their_order_and_a_tree_again() -> None:
    given = [{"name": "a", "steps": [{"name": "b", "steps": [{"name": "c"}]}, {"name": "d"}]}, {"name": "e"}]
    found = rows(given)
    assert [row["name"] for row in found] == ["a", "b", "c", "d", "e"]
    assert tree(found) == [("a", [("b", [("c", [])]), ("d", [])]), ("e", [])]


def test_steps_that_name_their_parents_are_a_tree() -> None:
    given = [
        {"id": "1", "name": "a"},
        {"id": "2", "parent_id": "1", "name": "b"},
        {"id": 3, "parent_id": "2", "name": "c"},
    ]
    assert tree(rows(given)) == [("a", [("b", [("c", [])])])]


def test_steps_in_a_circle_are_told_side_by_side() -> None:
    given = [{"id": "1", "parent_id": "2", "name": "a"}, {"id": "2", "parent_id": "1", "name": "b"}]
    assert tree(rows(given)) == [("a", []), ("b", [])]


def test_whatever_is_given_as_steps_is_kept() -> None:
    found = rows(["text", 5, None, {"output": {"x": 1}, "odd": [1]}, {"name": "", "type": 7, "status": "odd"}])
    assert [row["name"] for row in found] == ["step 1", "step 2", "step 3", "step 4", "step 5"]
    assert [row["output"] for row in found[:4]] == ['"text"', "5", None, '{"x":1}']
    assert found[3]["metadata"] == '{"odd":[1]}'
    assert rows({"name": "alone"})[0]["name"] == "alone"
    assert rows(None) == []


def test_times_of_a_step_are_read_or_left_out() -> None:
    began = "2026-11-29T12:00:00Z"
    [timed] = rows([{"name": "a", "started_at": began, "ended_at": "2026-11-29T12:00:01.5Z"}])
    assert (timed["at"], timed["duration_ms"]) == (datetime(2026, 11, 29, 12, tzinfo=UTC), 1500.0)
    for odd in ("yesterday", "9999-12-31T00:00:00Z", 1e300, [1], True):
        [row] = rows([{"name": "a", "started_at": odd, "duration_ms": -1}])
        assert (row["at"], row["duration_ms"]) == (None, None)


def test_steps_beyond_the_bounds_are_cut_by_number_and_kept_by_depth() -> None:
    assert len(rows([{"name": "x", "steps": [1] * MAX_STEPS}] * 3)) == MAX_STEPS
    deep: dict[str, Any] = {"name": "deepest"}
    for number in range(MAX_STEP_DEPTH + 3):
        deep = {"name": f"level {number}", "steps": [deep]}
    found = rows([deep])
    assert len(found) == MAX_STEP_DEPTH
    assert "deepest" in found[-1]["metadata"]


def test_a_span_belongs_to_the_interaction_whose_span_is_its_parent() -> None:
    second = {**TURN, "id": "018f3c2a-1111-7222-8333-000000000002", "span_id": "span-2"}
    alone = dict.fromkeys(STEP_COLUMNS)
    spans = [
        {
            **alone,
            "owner": "x",
            "step_id": "t1",
            "name": "tool",
            "trace_id": "trace-1",
            "parent_id": "span-2",
            "position": 0,
        },
        {
            **alone,
            "owner": "y",
            "step_id": "t2",
            "name": "root",
            "trace_id": "trace-1",
            "parent_id": None,
            "position": 0,
        },
    ]
    found = nested([TURN, second], spans, 1_000)
    assert [shape(steps) for steps in found.values()] == [[("root", [])], [("tool", [])]]

"""The tools that every instance has."""

from datetime import datetime
from typing import Any

import pytest

from llm_stream.ports import ToolError
from llm_stream.tools.builtin import builtin_tools, current_time
from llm_stream.tools.calculator import calculate
from llm_stream.tools.tool import Call, Caller
from llm_stream.tools.toolbox import named_tools
from tests.support.tool_turns import echo, tool

CALLER = Caller("org-1", None, "session-1", "chatcmpl-1")


class Sunny:
    """It is always the same weather."""

    async def report(self, place: str) -> dict[str, Any]:
        return {"place": place, "temperature_c": 21.5}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("(19.99 * 3) / 2", "29.985"),
        ("2 ** 10", "1024"),
        ("2^10", "1024"),
        ("-7 // 2", "-3"),
        ("sqrt(2) ** 2", "2.000000000000000000000000000"),
        ("round(10 / 3, 2)", "3.33"),
        ("max(1, 2, 3) - min(4, 5)", "-1"),
        ("1e3", "1000"),
        ("1000000", "1000000"),
        ("10 % 4", "2"),
    ],
)
def test_the_calculator_calculates(expression: str, value: str) -> None:
    assert float(calculate(expression)) == pytest.approx(float(value))
    if "sqrt" not in expression:
        assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "1 / 0",
        "9 ** 9 ** 9 ** 9",
        "sqrt(-1)",
        "ln(0)",
        "round(1, 10 ** 9)",
        "sqrt()",
        "sqrt(1, 2, 3)",
        "__import__('os')",
        "(1).real",
        "[1] * 10",
        "'a' * 10 ** 9",
        "x",
        "True",
        "1j",
        "-" * 400 + "1",
        "1" * 501,
        "max(1, key=abs)",
        "1 if 1 else 2",
        "\0",
    ],
)
def test_what_is_no_calculation_is_told_so(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


def test_the_time_is_told_for_a_zone() -> None:
    utc, _, day = current_time("UTC").partition(" ")
    assert abs((datetime.fromisoformat(utc) - datetime.now().astimezone()).total_seconds()) < 5
    assert day.strip("()").endswith("day")
    tokyo = datetime.fromisoformat(current_time("Asia/Tokyo").partition(" ")[0])
    offset = tokyo.utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 9 * 3600


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../../etc/passwd", "/etc/passwd", "a" * 10_000, "Europe", "\0"])
def test_a_zone_that_is_none_is_told_so(zone: str) -> None:
    with pytest.raises(ToolError, match="no time zone"):
        current_time(zone)


async def test_each_runs_with_the_arguments_of_its_schema() -> None:
    tools = {each.name: each for each in builtin_tools(Sunny())}
    given = {"current_time": {}, "calculator": {"expression": "6 * 7"}, "weather": {"place": "Lisbon"}}
    told = {name: await tools[name].run(given[name], Call(0, "c", name, ""), CALLER) for name in given}
    assert told["calculator"] == "42"
    assert told["weather"] == '{"place":"Lisbon","temperature_c":21.5}'
    assert told["current_time"].endswith("day)")
    assert given.keys() == tools.keys()


def test_a_package_cannot_take_the_name_of_a_builtin_tool() -> None:
    with pytest.raises(ValueError, match="'weather' is the name of another tool"):
        named_tools(builtin_tools(Sunny()), [tool("weather", echo)])

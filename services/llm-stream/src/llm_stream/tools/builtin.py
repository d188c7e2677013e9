"""The tools that every instance has: the time, a calculator, the weather."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from llm_stream.ports import ToolError, Weather
from llm_stream.tools.calculator import calculate
from llm_stream.tools.tool import Call, Caller, Run, Tool
from llm_stream.upstream.values import JsonObject


def builtin_tools(weather: Weather) -> Iterator[Tool]:
    """All of them."""
    yield Tool(
        "current_time",
        "builtin",
        "The date and time now, in a time zone such as 'Europe/Berlin'; UTC where none is given.",
        _object({"timezone": {"type": "string", "description": "Name of the IANA time zone."}}, required=()),
        _current_time,
    )
    yield Tool(
        "calculator",
        "builtin",
        "Calculates an arithmetic expression such as '(19.99 * 3) / 2'.",
        _object({"expression": {"type": "string"}}, required=("expression",)),
        _calculator,
    )
    yield Tool(
        "weather",
        "builtin",
        "The weather now at a place such as 'Lisbon'.",
        _object({"place": {"type": "string", "minLength": 1, "maxLength": 200}}, required=("place",)),
        _weather(weather),
    )


def _object(properties: JsonObject, *, required: tuple[str, ...]) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


async def _current_time(arguments: JsonObject, call: Call, caller: Caller) -> str:
    del call, caller
    return current_time(arguments.get("timezone") or "UTC")


def current_time(name: str) -> str:
    """The time as `2026-11-29T14:05:00+01:00 (Sunday)`. Raises ToolError."""
    try:
        zone = UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"there is no time zone '{name[:64]}'") from None
    now = datetime.now(zone)
    return f"{now.isoformat(timespec='seconds')} ({now:%A})"


async def _calculator(arguments: JsonObject, call: Call, caller: Caller) -> str:
    del call, caller
    return calculate(arguments["expression"])


def _weather(weather: Weather) -> Run:
    async def run(arguments: JsonObject, call: Call, caller: Caller) -> str:
        del call, caller
        return orjson.dumps(await weather.report(arguments["place"])).decode()

    return run

"""Which tools a request is offered, and who runs them: the caller's first, then the set's, then the alias's."""

from typing import Any

import orjson
import pytest

from llm_stream.answer.active_set import merged
from llm_stream.ports import ToolError
from llm_stream.tools.tool import Call, Caller, Filler
from llm_stream.tools.toolbox import Offered, ToolSources, ToolsRefused, output_of
from tests.support.tool_turns import echo, tool, toolbox

ECHO = tool("echo", echo)
BOX = toolbox(ECHO)
CALLER = Caller("org-1", None, "session-1", "chatcmpl-1")


def callers(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def offered(resources: list[dict[str, Any]], *own: dict[str, Any], **options: Any) -> tuple[list[Any], Offered]:
    """What a request with these tools is offered while the set has those resources."""
    active = {"prompt": {}, "config": {}, "tools": resources}
    body = merged({"messages": [], "tools": list(own)}, active, offers_tools=True)
    return BOX.offered(ToolSources(body["tools"], len(own), **options))


def resource(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": "", "parameters": '{"type": "object"}', **more}


def test_a_tool_of_the_set_is_the_callers_unless_the_set_says_how_it_is_run() -> None:
    run = {"url": "https://shop.example/order", "seconds": 3.0, "on_interrupt": "finish", "filler": "One moment."}
    shown, found = offered([resource("lights"), resource("order", run=run, fallback_content="Not now.")])
    assert [each["function"]["name"] for each in shown] == ["lights", "order"]
    assert all(each.keys() == {"type", "function"} for each in shown)
    assert found.callers == {"lights"}
    order = found.own["order"]
    assert (order.kind, order.seconds, order.finishes, order.fallback) == ("http", 3.0, True, "Not now.")
    assert order.filler == Filler("One moment.", 1.0)


async def test_a_tool_of_the_set_may_be_one_of_the_instance_under_another_name() -> None:
    _, found = offered([resource("repeat", run={"builtin": "echo"}), resource("gone", run={"builtin": "no_such"})])
    call = Call(0, "call_1", "repeat", "")
    assert await found.own["repeat"].run({"word": "x"}, call, CALLER) == "echo of x"
    with pytest.raises(ToolError, match="'gone' cannot be run here"):
        await found.own["gone"].run({}, call._replace(name="gone"), CALLER)


@pytest.mark.parametrize("run", [{"seconds": "soon"}, {}, {"url": None}])
def test_a_run_that_cannot_be_read_breaks_no_turn(run: dict[str, Any]) -> None:
    assert offered([resource("odd", run=run)])[1].own.keys() == {"odd"}


def test_of_one_name_the_first_stands() -> None:
    mine = callers("echo")
    shown, found = offered([resource("echo", run={"builtin": "echo"})], mine, alias=["echo"])
    assert shown == [mine]
    assert found == Offered({}, frozenset({"echo"}))
    shown, found = offered([resource("echo")], alias=["echo"])
    assert found.callers == {"echo"}
    named = {"type": "sonant", "name": "echo"}
    shown, found = offered([resource("echo")], named, named, alias=["echo"])
    assert shown == [ECHO.definition()]
    assert found.own == {"echo": ECHO}


def test_without_ours_the_set_has_its_other_tools() -> None:
    kept = [resource("lights"), resource("order", run={"url": "https://shop.example"})]
    shown, found = offered(kept, callers("mine"), alias=["echo"], off=True)
    assert found == Offered({}, frozenset({"mine", "lights"}))
    assert len(shown) == 2


def test_what_is_no_function_passes_by() -> None:
    others: list[dict[str, Any]] = [
        {"type": "custom", "custom": {"name": "sql"}},
        {"type": "web_search"},
        {"type": "function"},
    ]
    shown, found = offered([], *others)
    assert shown == others
    assert found == Offered({}, frozenset())


def test_there_are_at_most_128() -> None:
    many = [callers(f"tool_{number}") for number in range(128)]
    assert len(offered([], *many)[0]) == 128
    with pytest.raises(ToolsRefused, match="more than 128"):
        offered([], *many, alias=["echo"])


def test_a_tool_that_the_instance_does_not_have_is_left_out_of_an_alias() -> None:
    assert offered([], alias=["echo", "no_such"])[1].own.keys() == {"echo"}


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"tool_call_id": "c", "output": "Sunny."}, "Sunny."),
        ({"output": {"sky": "blue"}}, '{"sky":"blue"}'),
        ({"sky": "blue"}, '{"sky":"blue"}'),
        ([1, 2], "[1,2]"),
    ],
)
def test_the_output_of_a_server_is_read(answer: Any, output: str) -> None:
    assert output_of(orjson.dumps(answer)) == output
    assert output_of(b"\xff plain") == "\ufffd plain"

"""Tools that are functions of installed packages, found by their entry points in the group `sonant.tools`."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import entry_points
from typing import Any

import orjson
import structlog
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from llm_stream.ports import ToolError
from llm_stream.tools.tool import Call, Caller, Tool
from llm_stream.upstream.values import JsonObject

log = structlog.get_logger(__name__)

GROUP = "sonant.tools"
# A function that never returns keeps its thread; calls behind the last one run out of time.
THREADS = 16
MAX_DESCRIPTION_CHARACTERS = 4_000


class PythonToolsError(Exception):
    """A package's tool cannot be used; the message says which and why."""


@contextmanager
def python_tools(names: Sequence[str]) -> Iterator[list[Tool]]:
    """The allowed tools of installed packages. Raises PythonToolsError."""
    threads = ThreadPoolExecutor(THREADS, "tool")
    try:
        yield [_loaded(name, threads) for name in names]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _loaded(name: str, threads: ThreadPoolExecutor) -> Tool:
    found = list(entry_points(group=GROUP, name=name))
    if len(found) != 1:
        raise PythonToolsError(f"{len(found)} installed packages have a tool '{name}' in the group {GROUP}")
    try:
        function = found[0].load()
    except (ImportError, AttributeError) as error:
        raise PythonToolsError(f"the tool '{name}' cannot be imported: {error}") from error
    return tool_of(name, function, threads)


def tool_of(name: str, function: Callable[..., Any], threads: ThreadPoolExecutor) -> Tool:
    """A function as a tool: its docstring describes it, its annotations make the schema. Raises PythonToolsError."""
    try:
        # Pydantic takes functions too, as its documentation of `TypeAdapter` says and its annotations do not.
        of: Any = function
        schema = TypeAdapter[Any](of).json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        raise PythonToolsError(f"the parameters of the tool '{name}' have no JSON Schema: {error}") from error
    if schema.get("type") != "object":
        raise PythonToolsError(f"the tool '{name}' has parameters without a name")
    described = inspect.getdoc(function) or ""
    run = partial(_run, function, threads)
    return Tool(name, "python", described[:MAX_DESCRIPTION_CHARACTERS], schema, run)


async def _run(
    function: Callable[..., Any], threads: ThreadPoolExecutor, arguments: JsonObject, call: Call, caller: Caller
) -> str:
    del caller
    try:
        if inspect.iscoroutinefunction(function):
            value = await function(**arguments)
        else:
            value = await asyncio.get_running_loop().run_in_executor(threads, partial(function, **arguments))
        return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    except Exception as error:
        log.exception("a tool failed", tool=call.name)
        raise ToolError("it failed inside") from error

"""Which tools a request is offered, and which of them Sonant runs.

They come from the request, from the active set and from the alias, in this order: where two have one name, the first
stands. So a tool of the caller may have the name of a built-in one, and is the caller's then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from common.events.resource_terms import ToolRun
from common.secret_box import SecretBox, SecretError
from llm_stream.ports import ToolError, ToolServer
from llm_stream.tools.execution import Calls
from llm_stream.tools.tool import Call, Caller, Filler, Run, Tool
from llm_stream.upstream.values import JsonObject

# What a request, a set and an alias may offer together; OpenAI takes as many.
MAX_OFFERED = 128


class ToolsRefused(Exception):
    """The request names tools that cannot be; the message says which."""


class Offered(NamedTuple):
    """The tools of one request: those that Sonant runs by name, and the names of those that its caller runs."""

    own: Mapping[str, Tool]
    callers: frozenset[str]
    filler: Filler | None = None


class ToolSources(NamedTuple):
    """Where the tools of a request come from.

    `listed` are those in its body, of which the first `callers` are the caller's and the others the set's.
    """

    listed: Sequence[JsonObject]
    callers: int
    alias: Sequence[str] = ()
    # Whether the caller wants none but those it names itself.
    off: bool = False


class _Offer:
    """What is offered so far, in order."""

    def __init__(self) -> None:
        self.shown: list[JsonObject] = []
        self.names: set[str] = set()
        self.own: dict[str, Tool] = {}

    def add(self, definition: JsonObject, tool: Tool | None) -> None:
        """Another one, unless its name is taken; `tool` where Sonant runs it."""
        name = _name(definition) if tool is None else tool.name
        if name in self.names:
            return
        self.shown.append(definition if tool is None else tool.definition())
        if name is not None:
            self.names.add(name)
        if tool is not None:
            self.own[tool.name] = tool


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What an instance can run: tools by name, servers of organisations, and the calls at work.

    A turn has at most `max_rounds` rounds of calls.
    """

    named: Mapping[str, Tool]
    server: ToolServer
    secrets: SecretBox
    calls: Calls
    max_rounds: int = 5

    def offered(self, sources: ToolSources) -> tuple[list[JsonObject], Offered]:
        """The definitions that the model is shown, and who runs them. Raises ToolsRefused."""
        offer = _Offer()
        for number, definition in enumerate(sources.listed):
            if number < sources.callers:
                offer.add(definition, self._named_by_caller(definition))
            elif (tool := self._of_set(definition)) is None or not sources.off:
                offer.add(definition, tool)
        for name in () if sources.off else sources.alias:
            if (tool := self.named.get(name)) is not None:
                offer.add({}, tool)
        if len(offer.shown) > MAX_OFFERED:
            raise ToolsRefused(f"There are more than {MAX_OFFERED} tools with those of the active set and the model.")
        return offer.shown, Offered(offer.own, frozenset(offer.names - offer.own.keys()))

    def _named_by_caller(self, definition: JsonObject) -> Tool | None:
        if "sonant" in definition:
            raise ToolsRefused("A tool with 'sonant' is kept as a resource; a request names one of type 'sonant'.")
        if definition.get("type") != "sonant":
            return None
        name = definition.get("name")
        if not isinstance(name, str) or name not in self.named:
            raise ToolsRefused(f"There is no tool {str(name)[:64]!r} here: {', '.join(sorted(self.named))}.")
        return self.named[name]

    def _of_set(self, definition: JsonObject) -> Tool | None:
        """A tool of the set that Sonant runs. One that cannot be run answers so, and the turn goes on."""
        run = definition.get("sonant")
        if run is None:
            return None
        function = definition["function"]
        try:
            wanted = ToolRun.model_validate(run)
        except ValidationError:
            wanted = ToolRun()
        runs, kind = self._runs(wanted)
        return Tool(
            function["name"],
            kind,
            function.get("description") or "",
            function["parameters"],
            runs,
            wanted.seconds,
            wanted.on_interrupt == "finish",
            run.get("fallback"),
            Filler(wanted.filler, wanted.filler_after) if wanted.filler else None,
        )

    def _runs(self, wanted: ToolRun) -> tuple[Run, Any]:
        if wanted.url is not None:
            return _Posted(self, wanted.url, wanted.secret, wanted.seconds), "http"
        tool = self.named.get(wanted.builtin or "")
        if tool is not None:
            return tool.run, tool.kind
        return _away, "builtin"


async def _away(arguments: JsonObject, call: Call, caller: Caller) -> str:
    del arguments, caller
    raise ToolError(f"'{call.name}' cannot be run here")


class _Posted:
    """A tool behind an address; the secret is sealed."""

    def __init__(self, toolbox: Toolbox, url: str, secret: str | None, seconds: float) -> None:
        self._toolbox = toolbox
        self._url = url
        self._secret = secret
        self._seconds = seconds

    async def __call__(self, arguments: JsonObject, call: Call, caller: Caller) -> str:
        function = {"name": call.name, "arguments": orjson.dumps(arguments).decode()}
        body = {"tool_call": {"id": call.id, "function": function}, **caller._asdict()}
        answer = await self._toolbox.server.post(
            self._url, orjson.dumps(body), secret=self._opened(caller.org_id), id=call.id, seconds=self._seconds
        )
        return output_of(answer)

    def _opened(self, org_id: str) -> str | None:
        try:
            return None if self._secret is None else self._toolbox.secrets.open(self._secret, org_id)
        except SecretError:
            raise ToolError("its secret cannot be read") from None


def output_of(answer: bytes) -> str:
    """What a server's answer tells the model: the `output` of a ToolResponse, or the text itself."""
    try:
        told = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer.decode(errors="replace")
    output = told.get("output") if isinstance(told, dict) else None
    if isinstance(output, str):
        return output
    return answer.decode(errors="replace") if output is None else orjson.dumps(output).decode()


def named_tools(builtin: Iterable[Tool], others: Iterable[Tool]) -> dict[str, Tool]:
    """Tools by name. Raises ValueError for one of a package that has the name of a built-in one."""
    named = {tool.name: tool for tool in builtin}
    for tool in others:
        if tool.name in named:
            raise ValueError(f"SONANT_PYTHON_TOOLS: '{tool.name}' is the name of another tool")
        named[tool.name] = tool
    return named


def _name(definition: JsonObject) -> str | None:
    function: Any = definition.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None

"""A tool that Sonant runs, one call of it, and what came of that."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from common.events.chat import ToolKind, ToolOutcome, ToolStep
from llm_stream.tools.arguments import readable
from llm_stream.upstream.values import JsonObject

DEFAULT_SECONDS = 10.0
# What a fact keeps of the arguments and of the result of one call.
MAX_KEPT_CHARACTERS = 4_000
# What OpenAI takes as the name of a function.
MAX_NAME_CHARACTERS = 64
ODD_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]")
CANCELLED = "The call was cancelled: the user interrupted."
LEFT_RUNNING = "The user interrupted before there was a result; the call goes on."


class Caller(NamedTuple):
    """On whose behalf a call is made."""

    org_id: str
    user_id: str | None
    session_id: str
    request_id: str


class Call(NamedTuple):
    """A call as the model made it; `number` is its index in the answer, `arguments` is JSON text."""

    number: int
    id: str
    name: str
    arguments: str


# Makes a call with arguments that were checked; returns what the model is told. Raises ToolError.
Run: TypeAlias = Callable[[JsonObject, Call, Caller], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Filler:
    """What is said when the calls of a round take longer than `after` seconds."""

    text: str
    after: float


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool under the name by which the model calls it; `parameters` is the JSON Schema of its arguments.

    A call may take `seconds`. One that `finishes` goes on when the user interrupts. `fallback` is what the model is
    told when a call fails.
    """

    name: str
    kind: ToolKind
    description: str
    parameters: JsonObject
    run: Run
    seconds: float = DEFAULT_SECONDS
    finishes: bool = False
    fallback: str | None = None
    filler: Filler | None = None

    def definition(self) -> JsonObject:
        """The tool as OpenAI has it."""
        described = {"description": self.description} if self.description else {}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": self.parameters}}


class Step:
    """A call from its beginning to its end; what a fact tells of it."""

    def __init__(self, call: Call, tool: Tool | None, number: int) -> None:
        self.call = call
        self.tool = tool
        self.output = ""
        self.outcome: ToolOutcome | None = None
        self._round = number
        self._started_at = time.time()
        self._started = time.monotonic()
        self.seconds = 0.0

    def end(self, outcome: ToolOutcome, output: str) -> None:
        """It is over: `output` is what the model is told."""
        self.outcome, self.output = outcome, output
        self.seconds = time.monotonic() - self._started

    def interrupt(self) -> None:
        """The answer ended while it ran: its pair is closed all the same."""
        if self.outcome is None and self.tool is not None and self.tool.finishes:
            self.end("left_running", LEFT_RUNNING)
        elif self.outcome is None:
            self.end("cancelled", CANCELLED)

    def told(self) -> JsonObject:
        """The call as it stands in a message."""
        # Servers refuse other names, and those that put arguments into a template fail on what is no JSON.
        name = ODD_CHARACTERS.sub("_", self.call.name[:MAX_NAME_CHARACTERS]) or "_"
        function = {"name": name, "arguments": readable(self.call.arguments)}
        return {"id": self.call.id, "type": "function", "function": function}

    def result(self) -> JsonObject:
        """The message that closes the pair."""
        return {"role": "tool", "tool_call_id": self.call.id, "content": self.output}

    def response(self) -> JsonObject:
        """What came of it, as callers are shown it."""
        return {"tool_call_id": self.call.id, "output": self.output}

    def record(self, most: int = MAX_KEPT_CHARACTERS) -> ToolStep:
        """The step as the fact tells it, with so many characters of each text; it has ended."""
        return ToolStep(
            id=self.call.id,
            name=self.call.name[:MAX_NAME_CHARACTERS],
            kind=None if self.tool is None else self.tool.kind,
            arguments=self.call.arguments[:most],
            result=self.output[:most],
            outcome=self.outcome or "cancelled",
            round=self._round,
            started_at=self._started_at,
            duration_ms=round(self.seconds * 1000, 3),
        )

"""Turns in which a model calls tools: an upstream that says one thing after the other, and tools of the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson

from common.bus.live.frames import FrameKind
from common.kernel.worker_processes import WorkerProcesses
from common.secret_box import SecretBox
from llm_stream.aliases import Upstream
from llm_stream.ports import Endpoint, Patience, ToolError, ToolServer
from llm_stream.tools.execution import Calls
from llm_stream.tools.tool import Call, Caller, Run, Tool
from llm_stream.tools.toolbox import Toolbox
from tests.support.one_turn import Body, Live, Model, World
from tests.support.scripted import chunk, messages

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def calling(*calls: tuple[str, str] | tuple[str, str, str], said: str = "", size: int = 3) -> bytes:
    """A stream that says something and then calls these functions (name, arguments, id), told in small pieces."""
    chunks: list[dict[str, Any]] = [chunk(said)] if said else []
    for index, (name, _, *id) in enumerate(calls):
        begin = {"index": index, "id": id[0] if id else f"call_{index}", "type": "function"}
        chunks.append(chunk(tool_calls=[{**begin, "function": {"name": name, "arguments": ""}}]))
    longest = max(len(call[1]) for call in calls)
    for start in range(0, longest, size):
        for index, call in enumerate(calls):
            if piece := call[1][start : start + size]:
                chunks.append(chunk(tool_calls=[{"index": index, "function": {"arguments": piece}}]))
    return messages(*chunks, chunk(finish="tool_calls"), {**chunk(), "choices": [], "usage": USAGE}, b"[DONE]")


def saying(text: str) -> bytes:
    """A stream that says this."""
    words = text.split(" ")
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    ending: list[dict[str, Any] | bytes] = [chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}, b"[DONE]"]
    return messages(*(chunk(piece) for piece in pieces), *ending)


def whole(text: str | None, *calls: tuple[str, str]) -> bytes:
    """A completion that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return orjson.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE})


class Talk(Model):
    """Upstreams that give these answers, one after the other, and keep what they were asked."""

    def __init__(self, *answers: bytes, edges: Sequence[int] = ()) -> None:
        super().__init__()
        self._answers = list(answers)
        self._edges = edges
        self.requests: list[dict[str, Any]] = []

    @asynccontextmanager
    async def ask(
        self, upstream: Upstream, body: dict[str, Any], patience: Patience, endpoint: Endpoint = Endpoint.CHAT
    ) -> AsyncIterator[Model | Body]:
        self.requests.append(orjson.loads(orjson.dumps(body)))
        self.accepted.set()
        yield Body(self._answers.pop(0), self._edges)


def tool(name: str, run: Callable[[dict[str, Any]], Awaitable[str]], **options: Any) -> Tool:
    """A tool that does what a function of the test does with the arguments."""

    async def made(arguments: dict[str, Any], call: Call, caller: Caller) -> str:
        return await run(arguments)

    runs: Run = made
    return Tool(name, "python", f"The tool {name}.", options.pop("parameters", WORD), runs, **options)


async def echo(arguments: dict[str, Any]) -> str:
    """What a tool of the name `echo` does."""
    return f"echo of {arguments['word']}"


async def fail(arguments: dict[str, Any]) -> str:
    """A tool that never succeeds."""
    raise ToolError("the shop is closed")


async def hang(arguments: dict[str, Any]) -> str:
    """A tool that never answers."""
    await asyncio.Event().wait()
    return ""


def toolbox(*tools: Tool, server: ToolServer | None = None, max_rounds: int = 5) -> Toolbox:
    """An instance's tools: these and no others."""
    named = {each.name: each for each in tools}
    calls = Calls(WorkerProcesses(modules=["llm_stream.tools.arguments"]))
    return Toolbox(named, server or cast("ToolServer", None), SecretBox([]), calls, max_rounds)


class ToolTurn:
    """One turn with tools, and what came of it."""

    def __init__(self, model: Talk, box: Toolbox, **alias: Any) -> None:
        upstreams = [{"name": "s", "base_url": "http://s", "model": "s", "price": {"input": 1.0, "output": 2.0}}]
        self.alias = {"upstreams": upstreams, "tools": list(box.named), **alias}
        self.live = Live(None)
        self.model = model
        self.world = World(self.live, model, {"small": self.alias}, box)

    async def run(self, during: Callable[[], Any] | None = None, **body: Any) -> "ToolTurn":
        await self.world.answer(during, **body)
        return self

    @property
    def fact(self) -> dict[str, Any]:
        [fact] = self.world.facts
        return fact

    @property
    def outcomes(self) -> list[str]:
        """How its calls ended."""
        return [step["outcome"] for step in self.fact.get("tools", [])]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The chunks of the stream."""
        data = [frame.payload for frame in self.live.frames if frame.kind == FrameKind.DATA]
        texts = [payload.partition(b"data: ")[2][:-2] for payload in data]
        return [orjson.loads(text) for text in texts if text != b"[DONE]"]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice["delta"] for event in self.events for choice in event.get("choices", ())]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)

    @property
    def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        [body] = [frame.payload for frame in self.live.frames if frame.kind == FrameKind.DATA]
        return dict(orjson.loads(body))

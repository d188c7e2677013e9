"""Voice platforms as callers: each shapes the same turns in its own way, keeps the history, and interrupts.

The shapes are those of their documentation (docs/voice-platforms.md). What a platform does to a turn is a method of its
class; the plain one speaks OpenAI's chat completions with the session in a header.
"""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import aiohttp
import orjson

JsonObject: TypeAlias = dict[str, Any]

INTERRUPTION = {"type": "user_interruption", "time": {"timestamp": 1_700_000_000_000}}


@dataclass
class Heard:
    """What was heard of one answer: its text, its events, what it calls for, and how the request for it went."""

    status: int
    headers: Mapping[str, str]
    text: str = ""
    events: list[JsonObject] = field(default_factory=list)
    done: bool = False

    @property
    def calls(self) -> list[JsonObject]:
        """The calls of the caller's tools, each with `id`, `name` and `arguments`, whatever shape they came in."""
        gathered: dict[int, JsonObject] = {}
        for event in self.events:
            for choice in event.get("choices") or ():
                for piece in choice["delta"].get("tool_calls") or ():
                    _add_piece(gathered, piece)
            item = event.get("item") or {}
            if event.get("type") == "response.output_item.done" and item.get("type") == "function_call":
                call = {"id": item["call_id"], "name": item["name"], "arguments": item["arguments"]}
                gathered[event["output_index"]] = call
        return list(gathered.values())


def _add_piece(gathered: dict[int, JsonObject], piece: JsonObject) -> None:
    call = gathered.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
    function = piece.get("function") or {}
    call["id"] += piece.get("id") or ""
    call["name"] += function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""


@dataclass
class Caller:
    """One call: its session, and what was said in it so far. `http` has the server's address and an API key."""

    http: aiohttp.ClientSession
    session: str = field(default_factory=lambda: f"call-{uuid.uuid4().hex[:12]}")
    history: list[JsonObject] = field(default_factory=list)
    clock: int = 0
    path: ClassVar[str] = "/v1/dialects/openai/chat/completions"
    # Whether the newest request of a session stops the one before it.
    newest_wins: ClassVar[bool] = False
    # Whether a request may ask for a tool that Sonant runs.
    asks_for_tools: ClassVar[bool] = True

    # -- shapes ---------------------------------------------------------------------------------------------------

    def user(self, text: str, scores: JsonObject | None = None) -> JsonObject:
        """What the user said; `scores` is how it sounded, where the platform measures that."""
        del scores
        self.clock += 1000
        return {"role": "user", "content": text}

    def assistant(self, text: str) -> JsonObject:
        """What the assistant said, as the platform remembers it."""
        return {"role": "assistant", "content": text}

    def called(self, calls: Sequence[JsonObject], results: Sequence[str]) -> list[JsonObject]:
        """The calls of the platform's own tools with their results."""
        made = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in calls
        ]
        told = [
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(calls, results, strict=True)
        ]
        return [{"role": "assistant", "content": None, "tool_calls": made}, *told]

    def tool(self, name: str, description: str, parameters: JsonObject) -> JsonObject:
        """The definition of a tool that the platform runs itself."""
        function = {"name": name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}

    def query(self) -> dict[str, str]:
        """What stands in the address."""
        return {}

    def headers(self) -> dict[str, str]:
        """What stands in the head of the request."""
        return {"x-session-id": self.session}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        """The body of a request."""
        return {"model": model, "stream": True, "store": True, "messages": messages}

    def wrong(self, heard: Heard, scores: JsonObject | None) -> str | None:
        """What this platform would not understand of an answer; `scores` are the last ones it has told."""
        del scores
        if heard.headers.get("x-sonant-session-id") != self.session:
            return f"the session is told as {heard.headers.get('x-sonant-session-id')}"
        return None

    # -- a turn ---------------------------------------------------------------------------------------------------

    def opened(
        self, *said: JsonObject, model: str = "default", **more: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The stream of an answer to the history and what was said now; `more` goes into the body."""
        body = {**self.request([*self.history, *said], model), **more}
        return self.http.post(self.path, params=self.query(), headers=self.headers(), json=body)

    async def says(self, *said: JsonObject, model: str = "default", **more: Any) -> Heard:
        """One turn to its end; it enters the history where it was heard whole."""
        async with self.opened(*said, model=model, **more) as response:
            heard = await self.listens(response)
        if heard.done and not heard.calls:
            self.history += [*said, self.assistant(heard.text)]
        return heard

    async def listens(self, response: aiohttp.ClientResponse, characters: int | None = None) -> Heard:
        """An answer to its end, or until so many characters of it were heard."""
        heard = Heard(response.status, response.headers)
        if response.status != 200:
            heard.events.append(orjson.loads(await response.read()))
            return heard
        async for data in _payloads(response):
            self.take(data, heard)
            if characters is not None and len(heard.text) >= characters:
                break
        return heard

    def take(self, data: bytes, heard: Heard) -> None:
        """One event of the stream."""
        if data == b"[DONE]":
            heard.done = True
            return
        event = orjson.loads(data)
        heard.events.append(event)
        heard.text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices") or ())

    async def interrupts(self, heard: str | None = None) -> list[JsonObject]:
        """The user speaks over the answer, of which `heard` was heard where that is told; the receipts of the stops,
        none where the answer was over.
        """
        body = INTERRUPTION if heard is None else {**INTERRUPTION, "heard": {"text": heard}}
        async with self.http.post(f"/v1/sessions/{self.session}/interrupt", json=body) as response:
            if response.status == 404:
                return []
            response.raise_for_status()
            receipts: list[JsonObject] = (await response.json())["receipts"]
        return receipts

    async def remembered(self) -> JsonObject:
        """The session as the server remembers it; empty where it remembers nothing."""
        async with self.http.get(f"/v1/sessions/{self.session}") as response:
            found: JsonObject = await response.json() if response.status == 200 else {}
        return found


async def _payloads(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield line[6:].strip()


class Hume(Caller):
    """EVI: the session in the query, prosody and times on each message."""

    path = "/v1/dialects/hume/chat/completions"
    newest_wins = True

    def user(self, text: str, scores: JsonObject | None = None) -> JsonObject:
        begin = self.clock = self.clock + 1000
        prosody = None if scores is None else {"scores": scores}
        times = {"begin": begin, "end": begin + 800}
        return {"role": "user", "content": text, "models": {"prosody": prosody}, "time": times}

    def assistant(self, text: str) -> JsonObject:
        said = {"models": {"prosody": None}, "time": {"begin": 0, "end": 0}}
        return {"role": "assistant", "content": text, **said}

    def query(self) -> dict[str, str]:
        return {"custom_session_id": self.session}

    def headers(self) -> dict[str, str]:
        return {}

    def wrong(self, heard: Heard, scores: JsonObject | None) -> str | None:
        named = {event.get("system_fingerprint") for event in heard.events}
        if named - {self.session}:
            return f"system_fingerprint is {sorted(map(str, named))}"
        deltas = [choice["delta"] for event in heard.events for choice in event.get("choices") or ()]
        told = [((delta.get("models") or {}).get("prosody") or {}).get("scores") for delta in deltas]
        if scores is not None and any(each != scores for each in told):
            return "a chunk does not carry the last scores"
        return super().wrong(heard, scores)


class Vapi(Caller):
    """Vapi: the call beside the messages, and the assistant's metadata."""

    path = "/v1/dialects/vapi/chat/completions"
    newest_wins = True

    def headers(self) -> dict[str, str]:
        return {}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        call = {"call": {"id": self.session, "type": "webCall"}, "phoneNumber": {}, "customer": {}}
        metadata = {"user_id": "caller-1"}
        return {**super().request(messages, model), **call, "metadata": metadata, "timestamp": 1_795_000_000_000}


class ElevenLabs(Caller):
    """ElevenLabs: the session in the extra body."""

    path = "/v1/dialects/elevenlabs/chat/completions"
    newest_wins = True

    def headers(self) -> dict[str, str]:
        return {}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        extra = {"elevenlabs_extra_body": {"session_id": self.session}, "user_id": "caller-1"}
        return {**super().request(messages, model), "max_tokens": 5000, "temperature": 0, **extra}


class ElevenLabsResponses(ElevenLabs):
    """The same over the Responses API: the messages are its input, and the events have names."""

    path = "/v1/dialects/elevenlabs/responses"
    asks_for_tools = False

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        body = super().request(messages, model)
        del body["max_tokens"]
        return {**body, "input": body.pop("messages"), "max_output_tokens": 5000}

    def called(self, calls: Sequence[JsonObject], results: Sequence[str]) -> list[JsonObject]:
        return response_calls(calls, results)

    def tool(self, name: str, description: str, parameters: JsonObject) -> JsonObject:
        return {"type": "function", "name": name, "description": description, "parameters": parameters}

    def take(self, data: bytes, heard: Heard) -> None:
        take_response_event(json.loads(data), heard)


class Responses(ElevenLabsResponses):
    """Any client of the Responses API that keeps the history itself; the session stands in a header."""

    path = "/v1/responses"
    newest_wins = False

    def headers(self) -> dict[str, str]:
        return {"x-session-id": self.session}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        return {"model": model, "stream": True, "store": True, "input": messages}


def response_calls(calls: Sequence[JsonObject], results: Sequence[str]) -> list[JsonObject]:
    """Calls and their results as items of the Responses API."""
    made = [
        {"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        for call in calls
    ]
    told = [
        {"type": "function_call_output", "call_id": call["id"], "output": result}
        for call, result in zip(calls, results, strict=True)
    ]
    return [*made, *told]


def take_response_event(event: JsonObject, heard: Heard) -> None:
    """One event of a response."""
    heard.events.append(event)
    if event["type"] == "response.output_text.delta":
        heard.text += event["delta"]
    heard.done = heard.done or event["type"] == "response.completed"


PLATFORMS: Mapping[str, type[Caller]] = {
    "openai": Caller,
    "hume": Hume,
    "vapi": Vapi,
    "elevenlabs": ElevenLabs,
    "elevenlabs-responses": ElevenLabsResponses,
    "responses": Responses,
}

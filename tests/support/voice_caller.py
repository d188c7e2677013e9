"""A voice platform that holds a conversation: it keeps the history, says who sounds how, and interrupts.

Each platform shapes the same turns in its own way. What a platform does to a turn is a method of its class.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from tests.support.clients import Sse, all_events

JsonObject = dict[str, Any]
STOP = {"type": "user_interruption", "time": {"timestamp": 1_700_000_000_000}}


@dataclass
class Heard:
    """What a caller heard of one answer: its text, its events, and how the request for it went."""

    status: int
    text: str
    events: list[JsonObject]
    headers: httpx.Headers
    done: bool


@dataclass
class Caller:
    """One call: its session, and what was said in it so far. Plain OpenAI with the session in a header."""

    http: httpx.AsyncClient
    session: str = field(default_factory=lambda: f"call-{uuid.uuid4().hex[:12]}")
    history: list[JsonObject] = field(default_factory=list)
    clock: int = 0
    path = "/v1/dialects/openai/chat/completions"

    def user(self, text: str, scores: JsonObject | None = None) -> JsonObject:
        """What the user said, as the platform tells it; `scores` is how it sounded, where anybody measures that."""
        self.clock += 1000
        return {"role": "user", "content": text}

    def assistant(self, text: str) -> JsonObject:
        return {"role": "assistant", "content": text}

    def query(self) -> JsonObject:
        return {}

    def headers(self) -> dict[str, str]:
        return {"x-session-id": self.session}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        return {"model": model, "stream": True, "messages": messages}

    def opened(self, *said: JsonObject, model: str = "default") -> Any:
        """The stream of an answer to the history and what was said now."""
        body = self.request([*self.history, *said], model)
        return self.http.stream("POST", self.path, params=self.query(), headers=self.headers(), json=body)

    async def says(self, *said: JsonObject, model: str = "default") -> Heard:
        """One turn to its end; it enters the history where it was heard whole."""
        async with self.opened(*said, model=model) as response:
            heard = await self.listens(response)
        if heard.done:
            self.history += [*said, self.assistant(heard.text)]
        return heard

    async def listens(self, response: httpx.Response) -> Heard:
        """An answer to its end."""
        if response.status_code != httpx.codes.OK:
            body = orjson.loads(await response.aread())
            return Heard(response.status_code, "", [body], response.headers, done=False)
        received: list[Sse] = await all_events(response)
        told = [event.json for event in received if not event.done]
        text = "".join(event.text for event in received)
        return Heard(response.status_code, text, told, response.headers, bool(received) and received[-1].done)

    async def interrupts(self) -> list[JsonObject]:
        """The user speaks over the answer; the receipts of what that stopped."""
        stopped = await self.http.post(f"/v1/sessions/{self.session}/interrupt", json=STOP)
        assert stopped.status_code == httpx.codes.OK, stopped.text
        receipts: list[JsonObject] = stopped.json()["receipts"]
        return receipts


class Hume(Caller):
    """EVI: the session in the query, prosody and times on each message, no model unless its config names one."""

    path = "/v1/dialects/hume/chat/completions"

    def user(self, text: str, scores: JsonObject | None = None) -> JsonObject:
        begin = self.clock = self.clock + 1000
        prosody = None if scores is None else {"scores": scores}
        return {
            "role": "user",
            "content": text,
            "models": {"prosody": prosody},
            "time": {"begin": begin, "end": begin + 800},
        }

    def assistant(self, text: str) -> JsonObject:
        said = {"models": {"prosody": None}, "time": {"begin": 0, "end": 0}}
        return {"role": "assistant", "content": text, **said}

    def query(self) -> JsonObject:
        return {"custom_session_id": self.session}

    def headers(self) -> dict[str, str]:
        return {}


class Vapi(Caller):
    """Vapi: the call beside the messages, and the assistant's metadata."""

    path = "/v1/dialects/vapi/chat/completions"

    def headers(self) -> dict[str, str]:
        return {}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        call = {"call": {"id": self.session, "type": "webCall"}, "phoneNumber": {}, "customer": {}}
        metadata = {"user_id": "caller-1"}
        return {**super().request(messages, model), **call, "metadata": metadata, "timestamp": 1_795_000_000_000}


class ElevenLabs(Caller):
    """ElevenLabs: the session in the extra body."""

    path = "/v1/dialects/elevenlabs/chat/completions"

    def headers(self) -> dict[str, str]:
        return {}

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        extra = {"elevenlabs_extra_body": {"session_id": self.session}, "user_id": "caller-1"}
        return {**super().request(messages, model), "max_tokens": 5000, "temperature": 0, **extra}


class ElevenLabsResponses(ElevenLabs):
    """The same over the Responses API: the messages are its input, and the events have names."""

    path = "/v1/dialects/elevenlabs/responses"

    def request(self, messages: list[JsonObject], model: str) -> JsonObject:
        body = super().request(messages, model)
        body.pop("max_tokens")
        return {**body, "input": body.pop("messages"), "max_output_tokens": 5000}

    async def listens(self, response: httpx.Response) -> Heard:
        if response.status_code != httpx.codes.OK:
            return await super().listens(response)
        lines = [line async for line in response.aiter_lines()]
        told = [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]
        text = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
        done = bool(told) and told[-1]["type"] == "response.completed"
        return Heard(response.status_code, text, told, response.headers, done)

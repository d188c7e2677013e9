"""An answer that is not streamed: read whole, then sent in one frame."""

import time
from collections.abc import Collection, Iterator
from typing import Any

import orjson

from common.events.chat import AnswerRequested, Usage
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.outlet import Outlet
from llm_stream.ports import UpstreamAnswer
from llm_stream.tools.gathered import gathered
from llm_stream.tools.tool import Call
from llm_stream.upstream.completions import read_completion
from llm_stream.upstream.values import JsonObject

# Members of a message that say nothing.
NO_WORDS = frozenset({"role", "id", "type"})


class Completion:
    """A chat completion as an upstream sent it; a `HeardAnswer`. Raises UpstreamError where it is none."""

    def __init__(self, body: bytes, attempt: Attempt, frames: Outlet, request: AnswerRequested) -> None:
        read = read_completion(body)
        self._content = content = {**read.content, "id": request.request_id}
        content.pop("system_fingerprint", None)
        if not isinstance(content.get("created"), int):
            content["created"] = int(request.received_at)
        self._frames = frames
        self.attempt = attempt
        self.model = content["model"] = read.model or attempt.upstream.model
        self.usage = read.usage
        self.finish_reason: str | None = read.finish_reason
        attempt.characters = read.characters

    def calls(self) -> list[Call]:
        """What its first choice calls for."""
        return gathered({**call, "index": at} for at, call in enumerate(self._message.get("tool_calls") or ()))

    def drop_calls(self, indexes: Collection[int]) -> None:
        """Have it end without these calls."""
        calls = self._message["tool_calls"]
        self._message["tool_calls"] = [call for at, call in enumerate(calls) if at not in indexes]

    def plain_text(self) -> str | None:
        """Its text, where it says nothing else."""
        said = {name for name, value in self._message.items() if value and name != "role"}
        alone = said == {"content"} and len(self._content["choices"]) == 1
        text = self._message["content"] if alone else None
        return text if isinstance(text, str) else None

    def words(self) -> str:
        """Everything that its choices say, for whoever looks at it."""
        return "\n".join(_texts([choice.get("message") for choice in self._content["choices"]]))

    def end_round(self) -> str:
        """All that it said; nothing of it is sent, since the client gets the last message alone."""
        said = self._message.get("content")
        return said if isinstance(said, str) else ""

    def message(self) -> JsonObject:
        """What its first choice says."""
        kept = ("role", "content", "refusal", "tool_calls")
        return {name: self._message[name] for name in kept if self._message.get(name) is not None}

    @property
    def _message(self) -> JsonObject:
        message: JsonObject = self._content["choices"][0]["message"]
        return message

    def finish(self, usage: Usage) -> None:
        """Send the completion."""
        self.attempt.tokens = usage.completion_tokens
        if self.usage is not None:
            self._content["usage"] = self.usage.told(usage.prompt_tokens, usage.completion_tokens)
        elif "usage" in self._content:
            self._content["usage"] = usage.model_dump(exclude={"estimated"})
        self._frames.start(self.attempt.provider_headers)
        self._frames.emit_whole(orjson.dumps(self._content), tokens=usage.completion_tokens)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in NO_WORDS:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


async def read_whole(incoming: UpstreamAnswer, attempt: Attempt, answer: AnswerInProgress) -> Completion | None:
    """The upstream's completion; None where another instance answers. Raises UpstreamError."""
    request = answer.request
    with answer.whole_answers.receiving(request.request_id, request.org_id, incoming) as grew:
        body = await incoming.whole(grew)
    if not await answer.is_ours():
        return None
    attempt.first_byte_at = time.time()
    return Completion(body, attempt, answer.frames, answer.request)

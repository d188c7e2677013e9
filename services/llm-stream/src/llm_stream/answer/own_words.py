"""What Sonant writes into an answer itself: one that no upstream makes, and the end of one that was cut short."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from common.events.chat import Usage
from common.events.token_estimate import answer_tokens
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.outlet import Outlet
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.sentences import BOUNDARY
from llm_stream.upstream.values import JsonObject

DONE = b"[DONE]"


class Ready(NamedTuple):
    """An answer that is there already. `told` is the usage that the client sees; nothing is charged.

    `served_by` is what the fact says of it.
    """

    text: str
    served_by: str
    model: str
    finish_reason: str = "stop"
    told: Usage = Usage()


class OwnWords:
    """Writes chunks, or a whole completion, as an upstream's would be passed on."""

    def __init__(self, prepared: PreparedRequest, outlet: Outlet, model: str) -> None:
        self._prepared = prepared
        self._outlet = outlet
        request = prepared.request
        self._head: JsonObject = {"id": request.request_id, "created": int(request.received_at), "model": model}

    def begin(self, headers: dict[str, str]) -> None:
        """Begin the answer unless anything was sent, every choice with its role."""
        self._outlet.start(headers)
        if self._outlet.last_byte_at is None and self._prepared.request.stream:
            for index in range(self._prepared.choices):
                self._choice(index, {"role": "assistant", "content": ""}, None)

    def say(self, text: str) -> None:
        """A piece of text, in every choice."""
        for index in range(self._prepared.choices):
            self._choice(index, {"content": text}, None, tokens=0 if index else answer_tokens(1, len(text)), text=text)

    def end(self, finish_reason: str, usage: Usage, mark: JsonObject | None = None) -> None:
        """The end of every choice, the usage where it is wanted, and `[DONE]`; `mark` is told with the end."""
        self._outlet.delivery.defer()
        for index in range(self._prepared.choices):
            self._choice(index, {}, finish_reason, mark=mark)
        if self._prepared.wants_usage:
            self._emit({"choices": [], "usage": usage.model_dump(exclude={"estimated"})})
        self._outlet.emit(DONE)

    def whole(self, text: str, finish_reason: str, usage: Usage, mark: JsonObject | None = None) -> None:
        """An answer in one piece."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}
            for index in range(self._prepared.choices)
        ]
        told = usage.model_dump(exclude={"estimated"})
        body = {**self._head, "object": "chat.completion", "choices": choices, "usage": told}
        if mark is not None:
            body["sonant"] = mark
        self._outlet.emit_whole(orjson.dumps(body), tokens=usage.completion_tokens)

    def _choice(
        self,
        index: int,
        delta: JsonObject,
        finish_reason: str | None,
        *,
        tokens: int = 0,
        text: str = "",
        mark: JsonObject | None = None,
    ) -> None:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk: dict[str, Any] = {"choices": [choice]}
        if self._prepared.wants_usage:
            chunk["usage"] = None
        if mark is not None:
            chunk["sonant"] = mark
        self._emit(chunk, tokens=tokens, text=text)

    def _emit(self, chunk: JsonObject, *, tokens: int = 0, text: str = "") -> None:
        sent = {**self._head, "object": "chat.completion.chunk", **chunk}
        self._outlet.emit(orjson.dumps(sent), tokens=tokens, text=text)


async def send_ready(
    ready: Ready, prepared: PreparedRequest, answer: AnswerInProgress, headers: dict[str, str]
) -> FinishedAnswer | None:
    """Send an answer that is there, sentence by sentence where it is streamed; None where another instance answers."""
    if not await answer.is_ours():
        return None
    answer.notes.served_by = ready.served_by
    if answer.notes.session is not None and not prepared.request.stream:
        answer.notes.session.said = {"role": "assistant", "content": ready.text}
    words = OwnWords(prepared, answer.frames, ready.model)
    words.begin({**prepared.headers, **headers})
    if prepared.request.stream:
        for sentence in sentences(ready.text):
            words.say(sentence)
        words.end(ready.finish_reason, ready.told)
    else:
        words.whole(ready.text, ready.finish_reason, ready.told)
    return FinishedAnswer(None, None, Usage(), 0.0, ready.finish_reason)


def sentences(text: str) -> Iterable[str]:
    """A text in the pieces in which it is heard."""
    at = 0
    for found in BOUNDARY.finditer(text):
        yield text[at : found.end()]
        at = found.end()
    if at < len(text):
        yield text[at:]

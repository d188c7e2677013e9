"""From upstream chunks to the client's: the least rewriting that correctness allows.

Replaced are the completion id, the creation time and the upstream's `system_fingerprint` (a voice platform
would take it for a session id). The finish chunk is held until the upstream has really ended, so a stream
that breaks is never passed off as complete.
"""

from typing import Any, cast

import orjson

from llm_stream.models import Alias, Upstream
from llm_stream.ports import UpstreamBroken
from llm_stream.sentences import SkipPrefix, releasable
from llm_stream.turn import Turn

DONE = b"[DONE]"


class Relay:
    """Carries one attempt's stream into a turn."""

    def __init__(self, turn: Turn, alias: Alias, upstream: Upstream, *, include_usage: bool, choices: int) -> None:
        self._turn = turn
        self._upstream = upstream
        self._include_usage = include_usage
        self._choices = choices
        self._hold = alias.holds_sentences
        self._skip = SkipPrefix(turn.released_text)
        self._held: dict[int, str] = {}
        self._held_tokens: dict[int, int] = {}
        self._tail: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._finished: set[int] = set()
        self.ended = False
        self.model = upstream.model
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.tokens = 0

    def take(self, payload: bytes) -> None:
        """One `data:` payload. Raises UpstreamBroken when it is not what a chat stream consists of."""
        if self.ended:
            return
        if payload == DONE:
            self.ended = True
            return
        chunk = _parse(payload)
        usage = chunk.pop("usage", None)
        if usage:
            self.usage = usage
        self.model = chunk.get("model") or self.model
        choices = chunk["choices"]
        if choices:
            self._take_choices(chunk, choices)

    def _take_choices(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
        text, finished, plain = "", False, True
        for choice in choices:
            delta = choice.get("delta") or {}
            content = delta.get("content")
            if isinstance(content, str) and content:
                text += content
            plain = plain and not (delta.keys() - {"role", "content", "refusal"})
            if choice.get("finish_reason") is not None:
                finished = True
                self.finish_reason = choice["finish_reason"]
                self._finished.add(choice.get("index", 0))
        if text or not plain:
            self.tokens += 1
            self._turn.generated_tokens += 1
        if self._hold:
            self._hold_back(chunk, choices)
        elif finished:
            self._tail.append(chunk)
        elif text or not plain or not self._turn.begun:
            self._emit(chunk, text, tokens=1 if text or not plain else 0)

    # -- holding back to sentence boundaries ----------------------------------------------------------------

    def _hold_back(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
        self._last = chunk
        for choice in choices:
            delta = choice.get("delta") or {}
            index = choice.get("index", 0)
            content = delta.pop("content", None)
            if delta.pop("role", None) is not None and not self._turn.begun:
                self._emit_text(index, "", tokens=0, role=True)
            if content:
                self._release(index, self._skip.feed(content))
            if delta or choice.get("finish_reason") is not None:
                self._tail.append({**chunk, "choices": [{**choice, "delta": delta}]})

    def _release(self, index: int, text: str) -> None:
        held = self._held.get(index, "") + text
        tokens = self._held_tokens.get(index, 0) + 1
        end = releasable(held)
        if end:
            share = round(tokens * end / len(held))
            tokens -= share
            self._emit_text(index, held[:end], tokens=share)
        self._held[index], self._held_tokens[index] = held[end:], tokens

    def _emit_text(self, index: int, text: str, *, tokens: int, role: bool = False) -> None:
        delta = {"role": "assistant", "content": text} if role else {"content": text}
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        self._emit({**self._last, "choices": [choice]}, text, tokens=tokens)

    # -- out ------------------------------------------------------------------------------------------------

    def _emit(self, chunk: dict[str, Any], text: str, *, tokens: int) -> None:
        request = self._turn.request
        chunk["id"] = request.request_id
        chunk["object"] = "chat.completion.chunk"
        chunk["created"] = int(request.received_at)
        chunk.pop("system_fingerprint", None)
        if self._include_usage:
            chunk["usage"] = None
        if not self._turn.begun:
            # Node's client cannot finalise a message whose role it never heard.
            for choice in chunk["choices"]:
                choice["delta"] = {"role": "assistant", **(choice.get("delta") or {})}
        self._turn.start(provider_headers(self._upstream))
        self._turn.emit(orjson.dumps(chunk), tokens=tokens, text=text)

    def finish(self, usage: dict[str, Any]) -> None:
        """The stream is whole: release what was held, the finish chunk, usage if asked for, and `[DONE]`."""
        self._turn.defer()
        for index, text in self._held.items():
            if text:
                self._emit_text(index, text, tokens=self._held_tokens[index])
        for chunk in self._tail:
            self._emit(chunk, _text_of(chunk), tokens=0)
        if self._include_usage:
            last = {"id": self._turn.request.request_id, "object": "chat.completion.chunk", "model": self.model}
            created = int(self._turn.request.received_at)
            self._turn.emit(orjson.dumps({**last, "created": created, "choices": [], "usage": usage}))
        self._turn.emit(DONE)

    def check_whole(self) -> None:
        """Raises UpstreamBroken unless every choice finished and the upstream said it was done."""
        if len(self._finished) < self._choices:
            raise UpstreamBroken("the stream ended before the answer did")
        if not self.ended and "done" in self._upstream.capabilities:
            raise UpstreamBroken("the stream ended without [DONE]")


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise UpstreamBroken("the upstream sent a malformed chunk") from error
    if isinstance(chunk, dict) and chunk.get("error"):
        told = chunk["error"]
        message = told.get("message") if isinstance(told, dict) else told
        raise UpstreamBroken(f"the upstream reported an error mid-stream: {str(message)[:500]}")
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if not isinstance(choices, list) or [choice for choice in choices if not isinstance(choice, dict)]:
        raise UpstreamBroken("the upstream sent a chunk without choices")
    return cast("dict[str, Any]", chunk)


def _text_of(chunk: dict[str, Any]) -> str:
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in chunk["choices"])


def provider_headers(upstream: Upstream) -> dict[str, str]:
    """Every answer from the sandbox says so."""
    return {"x-sonant-provider": upstream.provider} if upstream.provider == "sandbox" else {}

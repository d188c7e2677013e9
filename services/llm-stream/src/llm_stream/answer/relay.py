"""From upstream chunks to the client's: the least rewriting that correctness allows.

Replaced are the completion id, the creation time and the upstream's `system_fingerprint` (a voice platform
would take it for a session id). The finish chunk is held until the upstream has really ended, so a stream
that breaks is never passed off as complete.
"""

import time
from typing import Any, cast

import orjson

from llm_stream.aliases import Alias, Upstream
from llm_stream.answer.sentences import SkipPrefix, releasable
from llm_stream.answer.template import Template
from llm_stream.ports import UpstreamBroken
from llm_stream.turns.turn import Turn

DONE = b"[DONE]"
SPOKEN = frozenset({"role", "content"})
# Of a stream whose chunks differ in more than their text nothing is learnt, however long it is.
LESSONS = 3


class Relay:
    """Carries one attempt's stream into a turn. Nothing is said before there is something to say."""

    def __init__(self, turn: Turn, alias: Alias, upstream: Upstream, *, include_usage: bool, choices: int) -> None:
        self._turn = turn
        self._upstream = upstream
        self._include_usage = include_usage
        self._choices = choices
        # A continuation is always compared with what was released, whoever continues.
        self._hold = alias.holds_sentences or bool(turn.released_text)
        self._skip = SkipPrefix(turn.released_text)
        self._held: dict[int, str] = {}
        self._held_tokens: dict[int, int] = {}
        self._tail: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._opened: set[int] = {0} if turn.begun else set()
        self._finished: set[int] = set()
        self._template: Template | None = None
        self._lessons = LESSONS
        turn.upstream, turn.attempt_tokens, turn.first_byte_at = upstream, 0, None
        self.ended = False
        self.model = upstream.model
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.tokens = 0

    def take(self, payload: bytes) -> bool:
        """One `data:` payload; whether the answer has ended. Raises UpstreamBroken on what is no part of one."""
        if not self.ended:
            if payload == DONE:
                self.ended = True
            else:
                self._take(payload)
        return self.ended

    def _take(self, payload: bytes) -> None:
        if self._turn.first_byte_at is None:
            self._turn.first_byte_at = time.time()
        if self._template is not None and (plain := self._template.fill(payload)) is not None:
            self._count(1)
            self._turn.emit(plain[0], tokens=1, text=plain[1])
            return
        chunk = _parse(payload)
        usage = chunk.pop("usage", None)
        if usage and isinstance(usage, dict):
            self.usage = usage
        self.model = chunk.get("model") or self.model
        choices = chunk["choices"]
        if len(choices) == 1 and not self._hold and _is_plain(choices[0]):
            self._count(1)
            told = self._emit(chunk, choices[0]["delta"]["content"], tokens=1)
            # Not plain any more is the first of a choice, which was given its role.
            if self._lessons > 0 and _is_plain(choices[0]):
                self._lessons -= 1
                self._template = Template.learn(payload, told)
        elif choices:
            self._take_choices(chunk, choices)

    def _count(self, tokens: int) -> None:
        self.tokens += tokens
        self._turn.generated_tokens += tokens
        self._turn.attempt_tokens = self.tokens

    def _take_choices(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
        finished = False
        for choice in choices:
            if choice.get("finish_reason") is not None:
                finished = True
                self.finish_reason = choice["finish_reason"]
                self._finished.add(choice.get("index", 0))
        tokens = _tokens_of(choices)
        self._count(tokens)
        if self._hold:
            self._hold_back(chunk, choices)
        elif finished:
            self._tail.append(chunk)
        elif tokens:
            self._emit(chunk, _text_of(choices), tokens=tokens)

    # -- holding back to sentence boundaries ----------------------------------------------------------------

    def _hold_back(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
        self._last = chunk
        for choice in choices:
            delta = choice["delta"]
            if content := delta.get("content"):
                self._release(choice.get("index", 0), self._skip.feed(content))
            rest = _beside_text(delta)
            if rest or choice.get("finish_reason") is not None:
                self._tail.append({**chunk, "choices": [{**choice, "delta": rest}]})

    def _release(self, index: int, text: str) -> None:
        held = self._held.get(index, "") + text
        tokens = self._held_tokens.get(index, 0) + 1
        end = releasable(held)
        if end:
            share = max(1, round(tokens * end / len(held)))
            tokens -= share
            self._emit_text(index, held[:end], tokens=share)
        self._held[index], self._held_tokens[index] = held[end:], tokens

    def _emit_text(self, index: int, text: str, *, tokens: int) -> None:
        choice = {"index": index, "delta": {"content": text}, "finish_reason": None, "logprobs": None}
        self._emit({**self._last, "choices": [choice]}, text, tokens=tokens)

    # -- out ------------------------------------------------------------------------------------------------

    def _emit(self, chunk: dict[str, Any], text: str, *, tokens: int) -> bytes:
        """Say a chunk as ours; returns it as it is told."""
        request = self._turn.request
        chunk["id"] = request.request_id
        chunk["object"] = "chat.completion.chunk"
        chunk["created"] = int(request.received_at)
        chunk.pop("system_fingerprint", None)
        if self._include_usage:
            chunk["usage"] = None
        for choice in chunk["choices"]:
            index = choice.get("index", 0)
            if index not in self._opened:
                # Node's client cannot finalise a message whose role it never heard.
                self._opened.add(index)
                choice["delta"] = {"role": "assistant", **choice["delta"]}
        self._turn.start(provider_headers(self._upstream))
        told = orjson.dumps(chunk)
        self._turn.emit(told, tokens=tokens, text=text)
        return told

    def finish(self, usage: dict[str, Any]) -> None:
        """The stream is whole: release what was held, the finish chunk, usage if asked for, and `[DONE]`."""
        self._turn.defer()
        if rest := self._skip.finish():
            self._held[0] = self._held.get(0, "") + rest
        for index, text in self._held.items():
            if text:
                self._emit_text(index, text, tokens=self._held_tokens[index])
        for chunk in self._tail:
            self._emit(chunk, _text_of(chunk["choices"]), tokens=_tokens_of(chunk["choices"]))
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
    if not isinstance(choices, list):
        raise UpstreamBroken("the upstream sent a chunk without choices")
    for choice in choices:
        _check(choice)
    return cast("dict[str, Any]", chunk)


def _check(choice: Any) -> None:
    """A choice always has a delta afterwards. Raises UpstreamBroken on one that is no choice."""
    delta = choice.get("delta") if isinstance(choice, dict) else choice
    if delta is None and isinstance(choice, dict):
        delta = choice["delta"] = {}
    if not isinstance(delta, dict) or not isinstance(delta.get("content") or "", str):
        raise UpstreamBroken("the upstream sent a malformed choice")


def _is_plain(choice: dict[str, Any]) -> bool:
    """Whether a choice is text and nothing else."""
    delta = choice["delta"]
    return len(delta) == 1 and bool(delta.get("content")) and choice.get("finish_reason") is None


def _beside_text(delta: dict[str, Any]) -> dict[str, Any]:
    """What a delta says other than text: tool calls, a refusal, reasoning. Servers send empty members too."""
    return {name: value for name, value in delta.items() if value and name not in SPOKEN}


def _tokens_of(choices: list[dict[str, Any]]) -> int:
    """How many of these deltas say anything."""
    return sum(1 for choice in choices if choice["delta"].get("content") or _beside_text(choice["delta"]))


def _text_of(choices: list[dict[str, Any]]) -> str:
    return "".join([choice["delta"].get("content") or "" for choice in choices])


def provider_headers(upstream: Upstream) -> dict[str, str]:
    """Every answer from the sandbox says so."""
    return {"x-sonant-provider": upstream.provider} if upstream.provider == "sandbox" else {}

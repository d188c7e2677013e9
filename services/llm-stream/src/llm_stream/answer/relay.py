"""From upstream chunks to the client's: the least rewriting that correctness allows.

Replaced are the completion id and the creation time; the upstream's `system_fingerprint` is left out, since a voice
platform would take it for a session id. The finish chunk is held until the upstream has really ended, so a stream that
breaks is never passed off as complete.
"""

import time
from typing import Any, cast

import orjson

from common.events.chat import Usage
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.frames import Frames
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.sentences import SkipPrefix, releasable
from llm_stream.answer.template import Template
from llm_stream.ports import UpstreamAnswer, UpstreamBroken

DONE = b"[DONE]"
SPOKEN = frozenset({"role", "content"})
# Of a stream whose chunks differ in more than their text nothing is learnt, however long it is.
MAX_LESSONS = 3


class Relay:
    """Carries one attempt's stream into the client's answer. Nothing is sent before there is something to say."""

    def __init__(self, attempt: Attempt, frames: Frames) -> None:
        prepared = attempt.prepared
        released = frames.released_text
        self._frames = frames
        self._request = prepared.request
        self._include_usage = prepared.wants_usage
        self._choices = prepared.choices
        # A continuation is always compared with what was released, whoever continues.
        self._hold = prepared.alias.holds_sentences or bool(released)
        self._skip = SkipPrefix(released)
        self._held: dict[int, str] = {}
        self._held_tokens: dict[int, int] = {}
        self._tail: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._opened: set[int] = {0} if frames.begun else set()
        self._finished: set[int] = set()
        self._template: Template | None = None
        self._lessons = MAX_LESSONS
        self.attempt = attempt
        self.ended = False
        self.model = attempt.upstream.model
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None

    def take(self, payload: bytes) -> bool:
        """One `data:` payload; whether the answer has ended. Raises UpstreamBroken on what is no part of one."""
        if not self.ended:
            if payload == DONE:
                self.ended = True
            else:
                self._take(payload)
        return self.ended

    def _take(self, payload: bytes) -> None:
        attempt = self.attempt
        if attempt.first_byte_at is None:
            attempt.first_byte_at = time.time()
        if self._template is not None and (plain := self._template.fill(payload)) is not None:
            attempt.tokens += 1
            self._frames.emit(plain[0], tokens=1, text=plain[1])
            return
        chunk = _parse(payload)
        usage = chunk.pop("usage", None)
        if usage and isinstance(usage, dict):
            self.usage = usage
        self.model = chunk.get("model") or self.model
        choices = chunk["choices"]
        if len(choices) == 1 and not self._hold and _is_plain(choices[0]):
            attempt.tokens += 1
            sent = self._emit(chunk, choices[0]["delta"]["content"], tokens=1)
            # Not plain any more is the first of a choice, which was given its role.
            if self._lessons > 0 and _is_plain(choices[0]):
                self._lessons -= 1
                self._template = Template.learn(payload, sent)
        elif choices:
            self._take_choices(chunk, choices)

    def _take_choices(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
        finished = False
        for choice in choices:
            if choice.get("finish_reason") is not None:
                finished = True
                self.finish_reason = choice["finish_reason"]
                self._finished.add(choice.get("index", 0))
        tokens = _tokens_of(choices)
        self.attempt.tokens += tokens
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
        """Send a chunk as ours; returns it as it is sent."""
        request = self._request
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
        self._frames.start(self.attempt.provider_headers)
        sent = orjson.dumps(chunk)
        self._frames.emit(sent, tokens=tokens, text=text)
        return sent

    def finish(self, usage: Usage) -> None:
        """The stream is whole: send what was held, the finish chunk, usage if wanted, and `[DONE]`.

        The usage is told as the upstream reported it, and as `usage` where it reported none.
        """
        self._frames.delivery.defer()
        if rest := self._skip.finish():
            self._held[0] = self._held.get(0, "") + rest
        for index, text in self._held.items():
            if text:
                self._emit_text(index, text, tokens=self._held_tokens[index])
        for chunk in self._tail:
            self._emit(chunk, _text_of(chunk["choices"]), tokens=_tokens_of(chunk["choices"]))
        if self._include_usage:
            last = {"id": self._request.request_id, "object": "chat.completion.chunk", "model": self.model}
            counts = self.usage if self.usage is not None else usage.model_dump(exclude={"estimated"})
            created = int(self._request.received_at)
            self._frames.emit(orjson.dumps({**last, "created": created, "choices": [], "usage": counts}))
        self._frames.emit(DONE)

    def check_whole(self) -> None:
        """Raises UpstreamBroken unless every choice finished and the upstream said it was done."""
        if len(self._finished) < self._choices:
            raise UpstreamBroken("the stream ended before the answer did")
        if not self.ended and "done" in self.attempt.upstream.capabilities:
            raise UpstreamBroken("the stream ended without [DONE]")


async def relay(incoming: UpstreamAnswer, attempt: Attempt, answer: AnswerInProgress) -> Relay | None:
    """Carry an upstream's stream into the answer, all but its end; None where another instance answers.

    Raises UpstreamBroken.
    """
    carried = Relay(attempt, answer.frames)
    if not await answer.is_ours():
        return None
    await incoming.relay(carried.take)
    carried.check_whole()
    return carried


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise UpstreamBroken("the upstream sent a malformed chunk") from error
    if isinstance(chunk, dict) and chunk.get("error"):
        reported = chunk["error"]
        message = reported.get("message") if isinstance(reported, dict) else reported
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

"""Mistral: flat errors with codes of its own, a strict order of roles, usage in the finish chunk unasked."""

from typing import Any

import orjson

from sandbox.openai.dialects.dialect import (
    Answer,
    BadMessages,
    Dialect,
    Json,
    Problem,
    StreamShape,
    Told,
    Wording,
    completion_choices,
)
from sandbox.openai.dialects.template_rules import user_or_tool_last
from sandbox.openai.errors import ApiError
from sandbox.openai.planned_answer import Choice, Delta, DeltaShape
from sandbox.openai.tools import ToolCall

FORBIDDEN = ("stream_options", "max_completion_tokens", "logprobs", "user", "seed")
ROLES = ("system", "user", "assistant", "tool")
WORDINGS = {
    Problem.TOO_LONG: Wording(
        400,
        "Prompt contains {used} tokens and 0 draft tokens, too large for model with {limit} maximum context length",
        "invalid_request_invalid_args",
        "3051",
    ),
    Problem.NO_MODEL: Wording(400, "Invalid model: {model}", "invalid_model", "1500"),
    Problem.BAD_PARAMETER: Wording(422, "{said}", "invalid_request_error"),
    Problem.BAD_MESSAGES: Wording(400, "{said}", "invalid_request_message_order", "3230"),
    Problem.KEY: Wording(401, "", bare={"detail": "Unauthorized"}),
    Problem.RATE_LIMIT: Wording(429, "Rate limit exceeded", "rate_limited", "1300"),
    # A status that says "later" for a model that is full.
    Problem.OVERLOADED: Wording(
        429, "Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"
    ),
    Problem.FILTERED: Wording(403, "{said}", "content_filter", "content_filter"),
    Problem.FAILED: Wording(500, "Service unavailable.", "internal_server_error", "3000"),
}


def envelope(told: Told) -> Any:
    """The body of an error; what its validation refuses stands in a list within the message."""
    wording = told.wording
    said: Any = told.message
    if wording is WORDINGS[Problem.BAD_PARAMETER]:
        place = ["body", *(told.param or "").split(".")]
        said = {"detail": [{"type": "value_error", "loc": place, "msg": told.message, "input": None}]}
    return {"object": "error", "message": said, "type": wording.type, "param": None, "code": wording.code}


def check(body: Json) -> None:
    """Members it does not know, roles it does not know, and who may speak last."""
    for member in FORBIDDEN:
        if member in body:
            raise ApiError(422, "Extra inputs are not permitted", param=member)
    for index, each in enumerate(body["messages"]):
        if each["role"] not in ROLES:
            raise ApiError(
                422, f"Input tag '{each['role']}' does not match the expected tags", param=f"messages.{index}"
            )
    if refusal := user_or_tool_last(body["messages"]):
        raise BadMessages(refusal)
    pairs = zip(body["messages"], body["messages"][1:], strict=False)
    if any((before["role"], after["role"]) == ("tool", "user") for before, after in pairs):
        raise BadMessages("Unexpected role 'user' after role 'tool'")


def call(index: int, called: ToolCall) -> list[Delta]:
    """The whole call at once, without an index or a type; its schema lets the arguments be an object."""
    return [{"tool_calls": [_called(called)]}]


def _called(called: ToolCall) -> Json:
    return {"id": called.id[5:14], "function": {"name": called.name, "arguments": orjson.loads(called.arguments)}}


def think(piece: str) -> Delta:
    """Reasoning stands in a part of the content."""
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]}


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    return {"index": index, "delta": delta, "finish_reason": finish}


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices; the padding hides how long the text is."""
    return {
        "id": answer.id[-32:],
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "p": "abcdefghijk",
    }


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed."""
    content: Any = said.text
    if said.reasoning:
        thought = think("".join(said.reasoning))["content"]
        content = [*thought, {"type": "text", "text": said.text}] if said.pieces else thought
    return {"role": "assistant", "content": content, "tool_calls": [_called(each) for each in said.calls] or None}


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    head_ = {"id": answer.id[-32:], "object": "chat.completion", "created": answer.created, "model": answer.model}
    return {**head_, "choices": completion_choices(answer, message), "usage": answer.usage()}


MISTRAL = Dialect(
    name="mistral",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=envelope,
    check=check,
    shape=StreamShape(
        head=head,
        choice=choice,
        deltas=DeltaShape(think=think, decline=lambda piece: {"content": piece}, call=call),
        end={"content": ""},
        usage_with_end=True,
    ),
    whole=whole,
)

"""SGLang: flat errors, nulls in every delta, and what is too long is found out only once the stream is open."""

from typing import Any

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
from sandbox.openai.dialects.template_rules import alternating, known_roles, system_first
from sandbox.openai.planned_answer import Choice, Delta, DeltaShape
from sandbox.openai.tools import ToolCall

NOTHING_ELSE = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
WORDINGS = {
    Problem.TOO_LONG: Wording(
        400,
        "The input ({used} tokens) is longer than the model's context length ({limit} tokens).",
        "BadRequestError",
        400,
    ),
    Problem.NO_MODEL: Wording(404, "The model '{model}' does not exist.", "NotFoundError", 404),
    Problem.BAD_PARAMETER: Wording(400, "{said}", "BadRequestError", 400),
    Problem.BAD_MESSAGES: Wording(400, "{said}", "BadRequestError", 400),
    Problem.KEY: Wording(401, "", bare={"error": "Unauthorized"}),
    Problem.RATE_LIMIT: Wording(429, "Too many requests", "TooManyRequests", 429),
    Problem.OVERLOADED: Wording(503, "The request queue is full.", "SERVICE_UNAVAILABLE", 503),
    Problem.FILTERED: Wording(400, "{said}", "BadRequestError", 400),
    Problem.FAILED: Wording(500, "Generation aborted.", "INTERNAL_SERVER_ERROR", 500),
}


def envelope(told: Told) -> Any:
    """The body of an error."""
    wording = told.wording
    return {"object": "error", "message": told.message, "type": wording.type, "param": None, "code": wording.code}


def stream_envelope(told: Told) -> Any:
    """In a stream the same stands one level deeper."""
    return {"error": envelope(told)}


def check(body: Json) -> None:
    """What the template of a common model refuses."""
    for rule in (known_roles, system_first, alternating):
        if refusal := rule(body["messages"]):
            raise BadMessages(refusal)


def call(index: int, called: ToolCall) -> list[Delta]:
    """The name with the first piece, and nulls in its place afterwards."""
    pieces = ["", *called.argument_pieces()]
    return [
        {
            **NOTHING_ELSE,
            "tool_calls": [
                {
                    "id": None if number else called.id,
                    "index": index,
                    "type": "function",
                    "function": {"name": None if number else called.name, "arguments": piece},
                }
            ],
        }
        for number, piece in enumerate(pieces)
    ]


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    return {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        "matched_stop": finish and 151645,
    }


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices."""
    return {
        "id": answer.id.removeprefix("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "usage": None,
    }


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed; here its tool calls have no index."""
    text = said.text if said.pieces or not said.calls else None
    calls = [{**each.as_dict(), "index": None} for each in said.calls] or None
    return {
        "role": "assistant",
        "content": text,
        "reasoning_content": "".join(said.reasoning) or None,
        "tool_calls": calls,
    }


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    choices = completion_choices(answer, message, logprobs=None, matched_stop=None)
    usage = {**answer.usage(), "prompt_tokens_details": None, "reasoning_tokens": 0}
    head_ = {**head(answer), "object": "chat.completion"}
    return {**head_, "choices": choices, "usage": usage, "metadata": {"weight_version": "default"}}


SGLANG = Dialect(
    name="sglang",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=stream_envelope,
    check=check,
    shape=StreamShape(
        head=head,
        choice=choice,
        deltas=DeltaShape(
            say=lambda piece: {**NOTHING_ELSE, "content": piece},
            think=lambda piece: {**NOTHING_ELSE, "reasoning_content": piece},
            decline=lambda piece: {**NOTHING_ELSE, "content": piece},
            call=call,
        ),
        role={**NOTHING_ELSE, "role": "assistant", "content": ""},
        end=NOTHING_ELSE,
    ),
    whole=whole,
    found_late=frozenset({Problem.TOO_LONG}),
)

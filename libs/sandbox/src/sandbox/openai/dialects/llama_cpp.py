"""llama.cpp: choices before everything, timings beside the usage, a refusal of its template as its own failure."""

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

BUILD = "b6000-0123abcd"
TIMINGS = {"cache_n": 0, "prompt_n": 12, "prompt_ms": 90.5, "predicted_n": 8, "predicted_ms": 210.25}
WORDINGS = {
    Problem.TOO_LONG: Wording(
        400,
        "request ({used} tokens) exceeds the available context size ({limit} tokens), try increasing it",
        "exceed_context_size_error",
        400,
    ),
    # With one model it takes any name; this is its router.
    Problem.NO_MODEL: Wording(400, "model '{model}' not found", "invalid_request_error", 400),
    Problem.BAD_PARAMETER: Wording(400, "{said}", "invalid_request_error", 400),
    Problem.BAD_MESSAGES: Wording(500, "Jinja Exception: {said}", "server_error", 500),
    Problem.KEY: Wording(401, "Invalid API Key", "authentication_error", 401),
    Problem.RATE_LIMIT: Wording(429, "Too many requests", "rate_limit_error", 429),
    Problem.OVERLOADED: Wording(503, "Loading model", "unavailable_error", 503),
    Problem.FILTERED: Wording(400, "{said}", "invalid_request_error", 400),
    Problem.FAILED: Wording(500, "failed to decode, ret = -3", "server_error", 500),
}


def envelope(told: Told) -> Any:
    """The body of an error; one that is too long counts its tokens."""
    error: Json = {"code": told.wording.code, "message": told.message, "type": told.wording.type}
    if told.numbers:
        error |= {"n_prompt_tokens": told.numbers["used"], "n_ctx": told.numbers["limit"]}
    return {"error": error}


def check(body: Json) -> None:
    """What the template of a common model refuses."""
    for rule in (known_roles, system_first, alternating):
        if refusal := rule(body["messages"]):
            raise BadMessages(refusal)


def call(index: int, called: ToolCall) -> list[Delta]:
    """The first piece has the name and an id, which is empty for models whose template knows none."""
    first, *rest = called.argument_pieces()
    opening = {"index": index, "id": "", "type": "function", "function": {"name": called.name, "arguments": first}}
    return [
        {"tool_calls": [opening]},
        *({"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in rest),
    ]


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    return {"finish_reason": finish, "index": index, "delta": delta}


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices."""
    return {
        "created": answer.created,
        "id": answer.id,
        "model": answer.model,
        "system_fingerprint": BUILD,
        "object": "chat.completion.chunk",
    }


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed."""
    text = said.text if said.pieces or not said.calls else None
    put: Json = {"role": "assistant", "content": text}
    if said.reasoning:
        put["reasoning_content"] = "".join(said.reasoning)
    if said.calls:
        put["tool_calls"] = [{**each.as_dict(), "id": ""} for each in said.calls]
    return put


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    head_ = {**head(answer), "object": "chat.completion"}
    return {"choices": completion_choices(answer, message), **head_, "usage": answer.usage(), "timings": TIMINGS}


LLAMA_CPP = Dialect(
    name="llama.cpp",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=envelope,
    check=check,
    shape=StreamShape(
        head=head,
        choice=choice,
        # It has no refusals of the model's own.
        deltas=DeltaShape(call=call, decline=lambda piece: {"content": piece}),
        role={"role": "assistant", "content": None},
        choices_first=True,
        usage_extra={"timings": TIMINGS},
    ),
    whole=whole,
)

"""Ollama: the role in every delta, a tool call in one piece and all of them with the index 0, hardly any check."""

from typing import Any

from sandbox.openai.dialects.dialect import (
    Answer,
    Dialect,
    Json,
    Problem,
    StreamShape,
    Told,
    Wording,
    completion_choices,
)
from sandbox.openai.planned_answer import Choice, Delta, DeltaShape
from sandbox.openai.tools import ToolCall

FINGERPRINT = "fp_ollama"
WORDINGS = {
    # Only where it does not cut the beginning off by itself; it tells by how much.
    Problem.TOO_LONG: Wording(
        400, "prompt too long; exceeded max context length by {used} tokens", "invalid_request_error"
    ),
    Problem.NO_MODEL: Wording(404, 'model "{model}" not found, try pulling it first', "not_found_error"),
    Problem.BAD_PARAMETER: Wording(400, "{said}", "invalid_request_error"),
    Problem.KEY: Wording(401, "", bare={"error": "unauthorized"}),
    Problem.RATE_LIMIT: Wording(429, "", bare={"error": "you've reached your hourly usage limit"}),
    Problem.OVERLOADED: Wording(503, "server busy, please try again.  maximum pending requests exceeded", "api_error"),
    Problem.FILTERED: Wording(400, "{said}", "invalid_request_error"),
    Problem.FAILED: Wording(500, "model runner has unexpectedly stopped", "api_error"),
}


def envelope(told: Told) -> Any:
    """The body of an error."""
    return {"error": {"message": told.message, "type": told.wording.type, "param": None, "code": None}}


def stream_envelope(told: Told) -> Any:
    """In a stream it stands as its own API puts it."""
    return {"error": told.message}


def call(index: int, called: ToolCall) -> list[Delta]:
    """The whole call at once."""
    put = {"id": f"call_{called.id[5:13]}{index}", "index": 0, **_called(called)}
    return [{"role": "assistant", "content": "", "tool_calls": [put]}]


def _called(called: ToolCall) -> Json:
    return {"type": "function", "function": {"name": called.name, "arguments": called.arguments}}


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    return {"index": index, "delta": delta, "finish_reason": finish}


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices."""
    return {
        "id": f"chatcmpl-{answer.created % 1000}",
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
    }


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed."""
    put: Json = {"role": "assistant", "content": said.text}
    if said.reasoning:
        put["reasoning"] = "".join(said.reasoning)
    if said.calls:
        put["tool_calls"] = [
            {"id": f"call_{each.id[5:13]}{index}", "index": 0, **_called(each)} for index, each in enumerate(said.calls)
        ]
    return put


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    choices = completion_choices(answer, message)
    return {**head(answer), "object": "chat.completion", "choices": choices, "usage": answer.usage()}


OLLAMA = Dialect(
    name="ollama",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=stream_envelope,
    check=lambda body: None,
    shape=StreamShape(
        head=head,
        choice=choice,
        deltas=DeltaShape(
            say=lambda piece: {"role": "assistant", "content": piece},
            think=lambda piece: {"role": "assistant", "content": "", "reasoning": piece},
            decline=lambda piece: {"role": "assistant", "content": piece},
            call=call,
        ),
        role=None,
        end={"role": "assistant", "content": ""},
    ),
    whole=whole,
)

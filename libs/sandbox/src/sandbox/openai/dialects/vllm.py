"""vLLM: errors with a number as their code, many null members, a name for every tool call from the first piece on."""

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

TOO_LONG = (
    "You passed {used} input tokens and requested 0 output tokens. However, the model's context length is only {limit}"
    " tokens, resulting in a maximum input length of {limit} tokens. Please reduce the length of the input prompt."
    " (parameter=input_tokens, value={used})"
)
WORDINGS = {
    Problem.TOO_LONG: Wording(400, TOO_LONG, "BadRequestError", 400),
    Problem.NO_MODEL: Wording(404, "The model `{model}` does not exist.", "NotFoundError", 404),
    Problem.BAD_PARAMETER: Wording(400, "{said}", "BadRequestError", 400),
    Problem.BAD_MESSAGES: Wording(400, "{said}", "BadRequestError", 400),
    # Its check of keys stands before everything else, and has words of its own.
    Problem.KEY: Wording(401, "", bare={"error": "Unauthorized"}),
    # It limits nobody; this is what the router before it says.
    Problem.RATE_LIMIT: Wording(429, "Too many requests", "TooManyRequestsError", 429),
    Problem.OVERLOADED: Wording(503, "The server is overloaded.", "ServiceUnavailableError", 503),
    Problem.FILTERED: Wording(400, "{said}", "BadRequestError", 400),
    Problem.FAILED: Wording(500, "EngineCore encountered an issue.", "InternalServerError", 500),
}


def envelope(told: Told) -> Any:
    """The body of an error."""
    wording = told.wording
    error = {"message": told.message, "type": wording.type, "param": told.param, "code": wording.code}
    return {"error": error}


def check(body: Json) -> None:
    """What the template of a common model refuses."""
    for rule in (known_roles, system_first, alternating):
        if refusal := rule(body["messages"]):
            raise BadMessages(refusal)


def call(index: int, called: ToolCall) -> list[Delta]:
    """Every piece with an id of its own and the name, as for a tool that the caller has chosen."""
    pieces = called.argument_pieces()
    return [
        {
            "tool_calls": [
                {
                    "id": f"chatcmpl-tool-{called.id[5:]}{number}",
                    "type": "function",
                    "index": index,
                    "function": {"name": called.name, "arguments": piece},
                }
            ]
        }
        for number, piece in enumerate(pieces)
    ]


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    put = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    return put if finish is None else {**put, "stop_reason": None}


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices."""
    return {"id": answer.id, "object": "chat.completion.chunk", "created": answer.created, "model": answer.model}


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed: every member is there, and most are null."""
    calls = [
        {"id": f"chatcmpl-tool-{each.id[5:]}", "type": "function", "function": each.as_dict()["function"]}
        for each in said.calls
    ]
    text = said.text if said.pieces or not said.calls else None
    return {
        "role": "assistant",
        "content": None if said.refused else text,
        "refusal": text if said.refused else None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": calls,
        "reasoning_content": "".join(said.reasoning) or None,
    }


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    choices = completion_choices(answer, message, logprobs=None, stop_reason=None, token_ids=None)
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**answer.usage(), "prompt_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
    }


VLLM = Dialect(
    name="vllm",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=envelope,
    check=check,
    shape=StreamShape(head=head, choice=choice, deltas=DeltaShape(call=call), end={"content": ""}),
    whole=whole,
)

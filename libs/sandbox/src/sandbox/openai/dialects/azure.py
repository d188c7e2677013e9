"""Azure: a first chunk about the filter alone, the results of the filter everywhere, statuses as codes."""

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
from sandbox.openai.planned_answer import Choice, Delta

SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
VIOLENT = {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": SAFE}]
WORDINGS = {
    Problem.TOO_LONG: Wording(400, "{said}", "invalid_request_error", "context_length_exceeded"),
    Problem.NO_MODEL: Wording(404, "The API deployment for this resource does not exist.", None, "DeploymentNotFound"),
    Problem.BAD_PARAMETER: Wording(400, "{said}", "invalid_request_error"),
    Problem.KEY: Wording(401, "Access denied due to invalid subscription key or wrong API endpoint.", None, "401"),
    Problem.RATE_LIMIT: Wording(
        429,
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded call rate limit of your"
        " current OpenAI S0 pricing tier. Please retry after 1 second.",
        None,
        "429",
    ),
    Problem.OVERLOADED: Wording(503, "The service is temporarily unable to process your request.", None, "503"),
    Problem.FILTERED: Wording(
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        None,
        "content_filter",
    ),
    Problem.FAILED: Wording(500, "The server had an error while processing your request.", "server_error"),
}


def envelope(told: Told) -> Any:
    """The body of an error: from the service in front two members, from the model behind it OpenAI's four."""
    wording = told.wording
    if wording in (WORDINGS[Problem.NO_MODEL], WORDINGS[Problem.KEY], WORDINGS[Problem.RATE_LIMIT]):
        return {"error": {"code": wording.code, "message": told.message}}
    error: Json = {"message": told.message, "type": wording.type, "param": told.param, "code": wording.code}
    if wording is WORDINGS[Problem.FILTERED]:
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": VIOLENT}
        error |= {"status": wording.status, "innererror": inner}
    return {"error": error}


def choice(index: int, delta: Delta, finish: str | None) -> Json:
    """A choice of a chunk."""
    results = SAFE if delta.get("content") else {}
    return {
        "content_filter_results": results,
        "delta": delta,
        "finish_reason": finish,
        "index": index,
        "logprobs": None,
    }


def head(answer: Answer) -> Json:
    """What every chunk has beside its choices."""
    return {
        "created": answer.created,
        "id": answer.id,
        "model": answer.model,
        "object": "chat.completion.chunk",
        "system_fingerprint": None,
        "usage": None,
    }


def message(said: Choice) -> Json:
    """The message of an answer that is not streamed."""
    text = said.text if said.pieces or not said.calls else None
    put: Json = {"annotations": [], "content": None if said.refused else text, "role": "assistant"}
    put["refusal"] = text if said.refused else None
    if said.reasoning:
        put["reasoning_content"] = "".join(said.reasoning)
    if said.calls:
        put["tool_calls"] = [each.as_dict() for each in said.calls]
    return put


def whole(answer: Answer) -> Json:
    """An answer that is not streamed."""
    choices = completion_choices(answer, message, content_filter_results=SAFE, logprobs=None)
    head_ = {**head(answer), "object": "chat.completion"}
    return {"choices": choices, **head_, "prompt_filter_results": PROMPT_RESULTS, "usage": answer.planned.usage()}


AZURE = Dialect(
    name="azure",
    wordings=WORDINGS,
    envelope=envelope,
    stream_envelope=envelope,
    check=lambda body: None,
    shape=StreamShape(
        head=head,
        choice=choice,
        preamble=(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": PROMPT_RESULTS,
            },
        ),
        role={"content": "", "refusal": None, "role": "assistant"},
        # The filter works beside the model, and tells by a choice of its own how far it has come.
        before_end={
            "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 121},
            "content_filter_results": SAFE,
            "finish_reason": None,
        },
        choices_first=True,
    ),
    whole=whole,
)

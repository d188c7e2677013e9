"""A response as OpenAI's clients know it; for the document only, since it is written by llm-stream."""

from typing import Any, Literal

from gateway.chat.completion_answer import Open


class ResponseUsage(Open):
    """Tokens of the request and of the response."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class Response(Open):
    """A response. `created_at` is unix seconds; `output` holds messages, reasoning and calls of functions."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: ResponseUsage | None = None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None


class ResponseEvent(Open):
    """The data of an event of a response; what it adds has the names that OpenAI gives to events of this `type`."""

    type: str
    sequence_number: int
    response: Response | None = None

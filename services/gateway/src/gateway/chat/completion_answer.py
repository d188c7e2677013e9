"""A whole answer as OpenAI's clients know it; for the document only, since its bytes are passed on as they come."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Open(BaseModel):
    """Upstreams add members of their own."""

    model_config = ConfigDict(extra="allow")


class AnswerMessage(Open):
    """What the model says; with `tool_calls` there may be no text."""

    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Choice(Open):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    finish_reason: str | None


class CompletionUsage(Open):
    """Tokens of the request and of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChunkDelta(Open):
    """What a chunk adds to the message."""

    role: str | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChunkChoice(Open):
    """What a chunk adds to one of `n` answers."""

    index: int
    delta: ChunkDelta
    finish_reason: str | None = None


class ChatCompletionChunk(Open):
    """The data of an event of a stream, up to `[DONE]`, which ends it. The last chunk but that may carry the usage."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None


class ChatCompletion(Open):
    """A chat completion. `created` is unix seconds."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage | None = None

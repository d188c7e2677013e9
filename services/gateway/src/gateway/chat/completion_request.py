"""The OpenAI chat completion request: checked where a wrong value would hurt, otherwise passed through."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.events.token_estimate import content_tokens

# What `max_tokens` is taken for when a request names none and its key has a token budget.
ASSUMED_ANSWER_TOKENS = 256
MAX_CHOICES = 8

Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Open(BaseModel):
    """Known fields are checked strictly, unknown ones kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class Message(Open):
    """One message; voice platforms add `models` (prosody) and `time`, which are kept."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None


class StreamOptions(Open):
    """What to send beside the text."""

    include_usage: bool | None = None


class ChatRequest(Open):
    """Body of `POST /v1/chat/completions`."""

    model: Name = "default"
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128, fail_fast=True)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None

    def reserved_tokens(self) -> int:
        """Tokens to reserve before the answer is known: the prompt by estimate, and the most it may say."""
        prompt = content_tokens(message.content for message in self.messages)
        return prompt + (self.max_completion_tokens or self.max_tokens or ASSUMED_ANSWER_TOKENS)

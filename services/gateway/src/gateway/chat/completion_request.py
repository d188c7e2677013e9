"""The OpenAI chat completion request: checked where a wrong value would hurt, otherwise passed through."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.events.prompt_variables import given_variables
from common.events.token_estimate import content_tokens

# What an answer may have at least and at most where a request names no limit and its key has a token budget.
LEAST_ANSWER_TOKENS = 256
MOST_ANSWER_TOKENS = 4096
MAX_CHOICES = 8

Unit = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _variables(value: dict[str, Any]) -> dict[str, Any]:
    given_variables(value)
    return value


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
    # False leaves tools out that Sonant would run; "show" tells of their calls in the stream.
    sonant_tools: bool | Literal["show"] | None = None
    # What fills the variables of the active prompt.
    variables: Annotated[dict[str, Any], AfterValidator(_variables)] | None = None
    # What the session remembers stands in front of the messages, or the messages are all there is.
    sonant_history: Literal["stored", "sent"] | None = None

    def reserved_tokens(self) -> int:
        """Tokens to reserve before the answer is known: the prompt by estimate, and the most its choices may say."""
        return self.prompt_tokens + self.choices * (self.named_tokens or LEAST_ANSWER_TOKENS)

    def most_tokens(self) -> int:
        """What may be reserved at most; more than `reserved_tokens` where the request leaves the length open."""
        return self.prompt_tokens + self.choices * (self.named_tokens or MOST_ANSWER_TOKENS)

    def answer_tokens(self, reserved: int) -> int | None:
        """What each choice may say of so many `reserved` tokens; None where the request says so itself."""
        return None if self.named_tokens else max(1, (reserved - self.prompt_tokens) // self.choices)

    @cached_property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, by estimate."""
        return content_tokens(message.content for message in self.messages)

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1

    @property
    def named_tokens(self) -> int:
        """The most that a choice may say; 0 where it is open. Of two limits an upstream may know only the larger."""
        return max(self.max_completion_tokens or 0, self.max_tokens or 0)

"""OpenAI's request for a response: the types of its fields; what they mean stands in `common.dialects.responses`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.chat.completion_request import Name, Open, Unit

MAX_METADATA = 16
MAX_METADATA_KEY, MAX_METADATA_VALUE = 64, 512


def few_short(metadata: dict[str, Any]) -> dict[str, Any]:
    """Looked at one by one only where they are few: a model would collect an error for each."""
    if len(metadata) > MAX_METADATA:
        raise ValueError(f"at most {MAX_METADATA} pairs are accepted")
    for name, value in metadata.items():
        if len(name) > MAX_METADATA_KEY or not isinstance(value, str) or len(value) > MAX_METADATA_VALUE:
            raise ValueError(f"texts of up to {MAX_METADATA_VALUE} characters under names of up to {MAX_METADATA_KEY}")
    return metadata


class ResponseText(Open):
    """How the text is to look: plain, any JSON, or JSON of a schema."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponseRequest(Open):
    """Body of `POST /v1/responses`. Nothing is stored: what names something stored is refused."""

    model: Name = "default"
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, fail_fast=True)]
    instructions: str | None = None
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: ResponseText | None = None
    reasoning: dict[str, Any] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(few_short)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[str], Field(fail_fast=True)] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None

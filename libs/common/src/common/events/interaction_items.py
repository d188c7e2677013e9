"""What callers report about their use of language models: interactions, steps and scores, as they travel.

The names in the aliases are those of callers that post by hand, and of older clients. Unknown fields are kept.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

# An id tells its day, which is where its row lies: what is older than this is not taken any more, and how far the
# clock of a client may run ahead.
MAX_AGE_SECONDS = 31 * 86_400
MAX_AHEAD_SECONDS = 86_400
# How far a moment that is named may lie from the one in the id.
MAX_APART_SECONDS = 86_400
MAX_ITEMS = 1_000
MAX_ITEM_BYTES = 2 * 1024 * 1024
MAX_BATCH_BYTES = 5 * 1024 * 1024
# Steps of one interaction, all levels together, and the levels.
MAX_STEPS = 1_000
MAX_STEP_DEPTH = 8
# Fewer digits than a payment card has.
MAX_COUNT = 10**12 - 1

Mode = Literal["prod", "dev"]


def moment(value: Any) -> Any:
    """Unix seconds of what is written as such, or as ISO 8601 with a zone. Raises ValueError."""
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("a moment is written as ISO 8601 or as unix seconds") from None
        if read.tzinfo is None:
            raise ValueError("a moment needs a zone: write a Z behind it for UTC")
        # Before the year 1 in UTC there is nothing: the zone may say so.
        return (read - EPOCH).total_seconds()
    if isinstance(value, bool):
        raise ValueError("a moment is written as ISO 8601 or as unix seconds")
    return value


EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def named(value: Any) -> Any:
    """A number as the name that it is meant to be: many callers have users and sessions with numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def whole(value: Any) -> Any:
    """JSON knows one kind of number: 60.0 is the integer 60."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _texts(most: int) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "maxLength": most}, {"type": "integer"}]})


Moment = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(moment),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
Name = Annotated[str, Field(max_length=256), BeforeValidator(named), _texts(256)]
Short = Annotated[str, Field(max_length=64), BeforeValidator(named), _texts(64)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT), BeforeValidator(whole)]
Milliseconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Object = dict[str, Any]


class TokenCount(BaseModel):
    """Tokens, where they are counted apart."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    prompt: Count | None = Field(default=None, validation_alias=AliasChoices("prompt", "prompt_tokens", "input_tokens"))
    completion: Count | None = Field(
        default=None, validation_alias=AliasChoices("completion", "completion_tokens", "output_tokens")
    )
    total: Count | None = Field(default=None, validation_alias=AliasChoices("total", "total_tokens"))
    cached: Count | None = Field(default=None, validation_alias=AliasChoices("cached", "cached_tokens"))


class Item(BaseModel):
    """What every item says of itself."""

    model_config = ConfigDict(extra="allow", strict=True)

    # UUIDv7 of the client; the same id twice is one item.
    id: str | None = None
    org_id: Name | None = Field(default=None, validation_alias=AliasChoices("org_id", "orgId"))
    mode: Mode | None = None
    timestamp: Moment | None = None
    user_id: Name | None = Field(default=None, validation_alias=AliasChoices("user_id", "userId"))
    session_id: Name | None = Field(default=None, validation_alias=AliasChoices("session_id", "sessionId"))
    trace_id: Short | None = Field(default=None, validation_alias=AliasChoices("trace_id", "traceId"))


class Interaction(Item):
    """One question to a language model, and what came of it."""

    kind: Literal["interaction"] = "interaction"
    user_prompt: Any = Field(default=None, validation_alias=AliasChoices("user_prompt", "userPrompt"))
    ai_response: Any = Field(default=None, validation_alias=AliasChoices("ai_response", "aiResponse", "response"))
    metadata: Object | None = Field(default=None, validation_alias=AliasChoices("metaData", "metadata", "meta_data"))
    user_metadata: Object | None = Field(
        default=None,
        validation_alias=AliasChoices("user_meta_data", "userMetadata", "user_metadata", "userMetaData"),
    )
    project_id: Name | None = Field(default=None, validation_alias=AliasChoices("project_id", "projectId"))
    file_name: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, validation_alias=AliasChoices("file_name", "fileName")
    )
    llm_model: Name | None = Field(default=None, validation_alias=AliasChoices("llm_model", "llmModel", "model"))
    provider: Name | None = None
    token_count: Count | TokenCount | None = Field(
        default=None, validation_alias=AliasChoices("token_count", "tokenCount")
    )
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    cached_tokens: Count | None = None
    step_data: Any = Field(default=None, validation_alias=AliasChoices("step_data", "stepData", "steps"))
    # Milliseconds.
    response_time: Milliseconds | None = Field(
        default=None, validation_alias=AliasChoices("response_time", "responseTime")
    )
    first_token_ms: Milliseconds | None = None
    cost_usd: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    status: Literal["ok", "error", "interrupted"] | None = None
    error: str | Object | None = None
    span_id: Short | None = None
    parent_id: Short | None = None
    tags: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)] | None = None
    environment: Annotated[str, Field(max_length=200)] | None = None
    release: Annotated[str, Field(max_length=200)] | None = None
    prompt_version: Name | None = None
    finish_reason: Short | None = None


class Step(Item):
    """Something that was done on the way to an answer: a tool, a retrieval, another model."""

    kind: Literal["step"]
    interaction_id: str | None = None
    span_id: Short | None = None
    parent_id: Short | None = None
    name: Name
    type: Short | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    duration_ms: Milliseconds | None = None
    input: Any = None
    output: Any = None
    status: Literal["ok", "error"] | None = None
    error: str | Object | None = None
    metadata: Object | None = None


class Score(Item):
    """What somebody, or something, thinks of an interaction."""

    kind: Literal["score"]
    interaction_id: str
    name: Annotated[str, Field(min_length=1, max_length=100)]
    value: bool | float | Annotated[str, Field(max_length=1000)]
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    source: Short | None = None
    metadata: Object | None = None


KINDS: dict[str, type[Item]] = {"interaction": Interaction, "step": Step, "score": Score}

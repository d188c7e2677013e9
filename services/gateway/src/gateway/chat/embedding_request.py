"""The OpenAI embeddings request and its answer: checked where a wrong value would hurt, otherwise passed through."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from common.events.token_estimate import input_tokens
from gateway.chat.completion_request import Name, Open

# OpenAI's own bounds, by which clients cut what they send.
MAX_INPUTS = 2048
MAX_TOKENS = 300_000
MAX_TOKEN = 2**31 - 1
MAX_DIMENSIONS = 65_536

_TOKENS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN},
    "minItems": 1,
    "maxItems": MAX_TOKENS,
}
_TEXT = {"type": "string", "minLength": 1}
_INPUT: dict[str, Any] = {
    "description": f"A text, a list of texts, the tokens of a text, or a list of those; at most {MAX_INPUTS} texts, "
    f"and {MAX_TOKENS} tokens in all.",
    "anyOf": [
        _TEXT,
        {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_INPUTS},
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": MAX_INPUTS},
    ],
}


def checked_input(given: Any) -> Any:
    """The input as it came; raises ValueError with a sentence about the first thing that is wrong with it."""
    if isinstance(given, str):
        _check_text(given)
    elif not isinstance(given, list) or not given:
        raise ValueError("a text, a list of texts, a list of tokens or a list of lists of tokens is expected")
    elif type(given[0]) is int:
        _check_tokens(given)
        _check_count(len(given))
    else:
        _check_list(given)
    return given


def _check_list(given: Sequence[Any]) -> None:
    if len(given) > MAX_INPUTS:
        raise ValueError(f"{len(given)} inputs, at most {MAX_INPUTS} are accepted")
    check = _check_text if isinstance(given[0], str) else _check_tokens
    for each in given:
        check(each)
    if not isinstance(given[0], str):
        _check_count(sum(map(len, given)))


def _check_text(text: Any) -> None:
    if not isinstance(text, str) or not text:
        raise ValueError("every input must be a text that is not empty, or all of them lists of tokens")


def _check_tokens(tokens: Any) -> None:
    if not isinstance(tokens, list) or not tokens or not all(type(each) is int for each in tokens):
        raise ValueError("every input must be a list of tokens that is not empty, or all of them texts")
    if min(tokens) < 0 or max(tokens) > MAX_TOKEN:
        raise ValueError(f"tokens are integers from 0 to {MAX_TOKEN}")


def _check_count(tokens: int) -> None:
    if tokens > MAX_TOKENS:
        raise ValueError(f"{tokens} tokens, at most {MAX_TOKENS} are accepted in one request")


class EmbeddingRequest(Open):
    """Body of `POST /v1/embeddings`."""

    stream: ClassVar[bool] = False

    model: Name = "embeddings"
    input: Annotated[Any, PlainValidator(checked_input), WithJsonSchema(_INPUT)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None

    def reserved_tokens(self) -> int:
        """Tokens to reserve before the answer is known."""
        return input_tokens(self.input)

    def most_tokens(self) -> int:
        """The same: vectors have the length they have."""
        return self.reserved_tokens()

    def answer_tokens(self, reserved: int) -> None:
        """Vectors have the length they have."""


class Embedding(BaseModel):
    """One vector: numbers, or single floats in little-endian order as base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of the input."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """A vector for every input, in their order."""

    model_config = ConfigDict(extra="allow")

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage

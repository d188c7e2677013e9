"""An embeddings request is taken as OpenAI takes it, or refused with a sentence."""

from typing import Any

import pytest

from common.failures import Refused
from gateway.chat.embedding_request import MAX_INPUTS, MAX_TOKENS, EmbeddingRequest
from gateway.http.validation import validate


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], ["a"] * MAX_INPUTS])
def test_every_form_of_input_is_taken(given: Any) -> None:
    taken = validate(EmbeddingRequest, {"model": "m", "input": given, "dimensions": 256, "unknown": {}})
    assert taken.input == given
    assert taken.reserved_tokens() > 0


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        None,
        7,
        {},
        ["a", ""],
        ["a", 1],
        [1, "a"],
        [1, None],
        [True],
        [[]],
        [[1], []],
        [[1], "a"],
        [["a"]],
        [-1],
        [2**31],
        [1.0],
        ["a"] * (MAX_INPUTS + 1),
        [1] * (MAX_TOKENS + 1),
        [[1] * MAX_TOKENS, [1]],
    ],
    ids=lambda given: str(given)[:20],
)
def test_any_other_input_is_refused_by_name(given: Any) -> None:
    with pytest.raises(Refused) as refused:
        validate(EmbeddingRequest, {"model": "m", "input": given})
    assert (refused.value.status, refused.value.param) == (400, "input")
    assert refused.value.message.startswith("Invalid 'input': ")
    assert "Value error" not in refused.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("encoding_format", "hex"),
        ("dimensions", 0),
        ("dimensions", "256"),
        ("dimensions", 100_000),
        ("user", 7),
    ],
)
def test_what_is_wrong_beside_it_is_named(field: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        validate(EmbeddingRequest, {"model": "m", "input": "a", field: value})
    assert (refused.value.status, refused.value.param) == (400, field)


def test_an_input_is_needed() -> None:
    with pytest.raises(Refused) as refused:
        validate(EmbeddingRequest, {"model": "m"})
    assert (refused.value.code, refused.value.param) == ("missing_required_parameter", "input")

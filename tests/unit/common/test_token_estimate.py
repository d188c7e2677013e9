"""The one estimate of tokens that nobody has counted."""

from typing import Any

import pytest

from common.events.token_estimate import MEDIA_PART_TOKENS, answer_tokens, content_tokens, input_tokens

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_048_576}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "A" * 300_000, "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "A" * 300_000}}


@pytest.mark.parametrize(
    ("contents", "tokens"),
    [
        (["12345678"], 2),
        ([None, "", []], 0),
        ([[{"type": "text", "text": "12345678"}]], 2),
        ([["12345678"]], 2),
        ([[{"type": "refusal", "refusal": "12345678"}]], 2),
        ([[{"type": "text", "text": ""}]], 0),
        ([[{"type": "text", "text": {"odd": 1}}]], 0),
        ([[IMAGE]], MEDIA_PART_TOKENS),
        ([[AUDIO, FILE, {"type": "text", "text": "1234"}]], 2 * MEDIA_PART_TOKENS + 1),
        ([[None, 7, {}]], 0),
    ],
)
def test_texts_count_by_length_and_media_flat(contents: list[Any], tokens: int) -> None:
    assert content_tokens(contents) == tokens


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("a", 1), ("12345678", 2), (["a", "b"], 2), ([1, 2, 3], 3), ([[1, 2], [3]], 3), (None, 0), ({}, 0)],
)
def test_inputs_of_embeddings_count_as_texts_or_tokens(given: Any, tokens: int) -> None:
    assert input_tokens(given) == tokens


def test_an_answer_is_the_larger_of_its_chunks_and_its_length() -> None:
    assert answer_tokens(10, 20) == 10
    assert answer_tokens(3, 4000) == 1000

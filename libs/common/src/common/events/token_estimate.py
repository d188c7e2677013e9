"""Tokens where nobody has counted them: the one estimate by which the gateway reserves and the service settles.

Rough but honest: English text has about four characters a token. An image or a recording counts flat, since its bytes
say nothing about its tokens: providers charge from 85 (a small image at OpenAI) to about 1,600 (a large one at
Anthropic), and a recording by the second.
"""

from collections.abc import Iterable
from typing import Any

CHARACTERS_PER_TOKEN = 4
MEDIA_PART_TOKENS = 1000


def content_tokens(contents: Iterable[Any]) -> int:
    """Tokens of the contents of messages, each a text, a list of parts or nothing."""
    characters, media = 0, 0
    for content in contents:
        if isinstance(content, str):
            characters += len(content)
            continue
        for part in content if isinstance(content, list) else ():
            # Of the many that a body may hold nearly all are such, and a call for each is what takes long.
            said = part.get("text") if type(part) is dict else None
            if type(said) is not str:
                said = _text(part)
            if said is None:
                media += 1
            else:
                characters += len(said)
    return characters // CHARACTERS_PER_TOKEN + media * MEDIA_PART_TOKENS


def _text(part: Any) -> str | None:
    """What a part says; None for an image, a recording or a file."""
    if type(part) is not dict:
        return part if isinstance(part, str) else ""
    said = part.get("text") or part.get("refusal")
    if isinstance(said, str):
        return said
    return "" if part.get("type") in (None, "text", "input_text", "output_text", "refusal") else None


def input_tokens(given: Any) -> int:
    """Tokens of the input of an embeddings request: texts by their length, tokens as they are counted."""
    if isinstance(given, str):
        return -(-len(given) // CHARACTERS_PER_TOKEN)
    if not isinstance(given, list):
        return 0
    return sum(1 if isinstance(each, int) else input_tokens(each) for each in given)


def answer_tokens(chunks: int, characters: int) -> int:
    """Tokens of an answer whose upstream reported none: some send a token a chunk, others a paragraph."""
    return max(chunks, characters // CHARACTERS_PER_TOKEN)

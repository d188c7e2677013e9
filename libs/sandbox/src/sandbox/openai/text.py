"""Words, sentences and token-like pieces of text."""

import re
from collections.abc import Sequence
from itertools import pairwise

# A piece is at most 12 characters, so that long words arrive in several deltas as they do from real models.
_PIECE = re.compile(r"\s*\S{1,12}|\s+$")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n+")
# After a plural s is gone; the longest first.
_ENDINGS = ("ingly", "edly", "ing", "ied", "ie", "ed", "ly", "e", "y")
_STEM_MIN = 3
_STOPWORD_LIST = """
    a about after all also am an and any are as at be been but by can could did do does for from get give had
    has have he her him his how i if in into is it its i'm just know let like me more my no not now of on or our
    out please she should so some tell than that the their them then there these they this to up us use used was
    we were what what's when where which who whom whose why will with would you your yours it's
"""
STOPWORDS = frozenset(_STOPWORD_LIST.split())


def pieces(text: str) -> list[str]:
    """Cut text into token-like pieces; joined they are the text."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Return how many pieces the text has, without building them for long texts."""
    return sum(1 for _ in _PIECE.finditer(text))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def stem(word: str) -> str:
    """Cut the common English endings, so that `hours` meets `hour` and `refunded` meets `refund`."""
    word = word.removesuffix("'s").removesuffix("\u2019s")
    if word.endswith("s") and not word.endswith("ss") and len(word) > _STEM_MIN:
        word = word[:-1]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_MIN:
            return word.removesuffix(ending)
    return word


def keywords(text: str) -> set[str]:
    """Return the stems of the words that carry meaning."""
    return {stem(word) for word in words(text) if word not in STOPWORDS}


def sentences(text: str) -> list[str]:
    """Cut text at sentence ends and line breaks, dropping what is blank."""
    return [part for part in (cut.strip() for cut in _SENTENCE_END.split(text)) if part]


def regroup(parts: Sequence[str], count: int) -> list[str]:
    """Join neighbouring parts into exactly `count` groups; there must be at least `count` parts."""
    total = len(parts)
    edges = [index * total // count for index in range(count + 1)]
    return ["".join(parts[start:end]) for start, end in pairwise(edges)]

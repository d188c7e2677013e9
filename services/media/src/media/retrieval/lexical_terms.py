"""The words of a text as they are looked up, and how much each of them weighs: BM25.

S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. A chunk is kept as the
weights of its terms, a question has the rarity of its own; the score is the inner product of both. Lengths are taken
against a constant rather than the mean of all chunks, so that no weight changes when others come or go.
"""

import functools
import math
import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

K1 = 1.2
B = 0.75
# Terms of a chunk of ordinary prose, without stop words.
USUAL_TERMS = 80
WORD = re.compile("\\w+(?:['\u2019]\\w+)*")
# A long word counts as several, as models read it.
TOKEN = re.compile(r"\w{1,6}|[^\w\s]")
LONGEST_WORD = 64
# Ids fit an index of pgvector's sparse vectors, which count from 1.
TERM_IDS = 1_000_000_000
_USUAL_WORDS = """
a about after all also am an and any are as at be because been before being between both but by can could did do does
doing down during each few for from further had has have having he her here hers him his how i if in into is it its
itself just me more most my no nor not of off on once only or other our out over own s same she should so some such t
than that the their them then there these they this those through to too under until up very was we were what when
where which while who whom why will with would you your
"""
STOP_WORDS = frozenset(_USUAL_WORDS.split())

# The stemmer keeps a buffer of its own.
_lock = threading.Lock()


@functools.cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")


def terms_of(text: str) -> list[str]:
    """The words of a text without stop words, in lower case and stemmed as English ones are."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    words = [word.removesuffix("'s")[:LONGEST_WORD] for word in WORD.findall(plain)]
    with _lock:
        stems: list[str] = _stemmer().stemWords([word for word in words if word not in STOP_WORDS])
    return stems


def term_id(scope: str, term: str) -> int:
    """The number of a term in a scope: that of an organisation's project, so that no list of an index has two of them.

    Two terms of one scope share a number about once in a billion pairs; then they count as one.
    """
    return zlib.crc32(f"{scope}\n{term}".encode()) % TERM_IDS + 1


def term_weights(scope: str, terms: Sequence[str]) -> dict[int, float]:
    """How much each term says about a text with these terms, by number."""
    long = 1 - B + B * len(terms) / USUAL_TERMS
    counts = Counter(term_id(scope, term) for term in terms)
    return {number: count * (K1 + 1) / (count + K1 * long) for number, count in sorted(counts.items())}


def rarity(chunks_with: int, chunks: int) -> float:
    """The inverse document frequency of a term; above 0 for one that every chunk has."""
    return math.log(1 + (chunks - min(chunks_with, chunks) + 0.5) / (chunks_with + 0.5))


def term_list(weights: Mapping[int, float]) -> str:
    """The numbers of terms as PostgreSQL reads an array."""
    return f"{{{','.join(map(str, sorted(weights)))}}}"


def sparse(weights: Mapping[int, float]) -> str:
    """Weights as pgvector reads a sparse vector."""
    inside = ",".join(f"{number}:{weight:.5g}" for number, weight in sorted(weights.items()))
    return f"{{{inside}}}/{TERM_IDS}"


def word_starts(text: str) -> list[int]:
    """The characters at which words and signs begin: about as many as the tokens of a model, or fewer."""
    return [match.start() for match in TOKEN.finditer(text)]

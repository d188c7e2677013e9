"""The port `TextVectors` without a model: words and parts of words, each in a place that its hash names.

It finds what shares words or spellings, and knows nothing of meanings (Weinberger et al., "Feature hashing for large
scale multitask learning", 2009).
"""

import functools
import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

from common.events.songs import DIMENSIONS
from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkerProcesses, WorkersBusy
from media.song_vectors.song_embedding import as_bytes

NAME = "hashed-words-1"
# More than these would hold up the event loop.
FEW = 4
WORD = re.compile(r"[\w#]+")
# A word counts as much as all parts of it together.
WORD_WEIGHT, PART_WEIGHT = 1.0, 0.35
PART = 3
# They are in every other title.
PLAIN = frozenset(("a", "an", "and", "by", "for", "from", "in", "is", "it", "me", "my", "of", "on", "the", "to", "you"))
PLAIN_WEIGHT = 0.2


class HashedTexts:
    """Vectors by hashes; many at once are made in a worker process."""

    name = NAME

    def __init__(self, workers: WorkerProcesses) -> None:
        self._workers = workers

    async def of(self, share: str, texts: Sequence[str]) -> list[bytes]:
        """As the port says."""
        if len(texts) <= FEW:
            return hashed(texts)
        try:
            return await self._workers.run(share, hashed, list(texts))
        except (TooDear, WorkersBusy) as error:
            raise Refused(503, f"The texts could not be read now: {error}.", "busy", type="server_error") from None


def hashed(texts: Sequence[str]) -> list[bytes]:
    """A vector of length 1 for each text; zeros for one without words."""
    return [_vector(text) for text in texts]


def _vector(text: str) -> bytes:
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    values = [0.0] * DIMENSIONS
    for word, times in Counter(WORD.findall(plain)).items():
        weight = (PLAIN_WEIGHT if word in PLAIN else 1.0) * (1 + math.log(times))
        for place, sign, share in _places(word):
            values[place] += sign * share * weight
    norm = math.sqrt(sum(value * value for value in values))
    return as_bytes([value / norm for value in values] if norm else values)


@functools.lru_cache(maxsize=50_000)
def _places(word: str) -> tuple[tuple[int, float, float], ...]:
    """Where a word and its parts stand, with their signs and weights."""
    return tuple(_placed(word))


def _placed(word: str) -> Iterator[tuple[int, float, float]]:
    yield *_hash(f"={word}"), WORD_WEIGHT
    padded = f"<{word}>"
    for at in range(len(padded) - PART + 1):
        yield *_hash(padded[at : at + PART]), PART_WEIGHT


def _hash(token: str) -> tuple[int, float]:
    code = zlib.crc32(token.encode())
    return code % DIMENSIONS, 1.0 if zlib.adler32(token.encode()) & 4 else -1.0

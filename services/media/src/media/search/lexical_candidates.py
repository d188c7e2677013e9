"""Which chunks are scored by their words: few enough to be fast, and those among which the best are.

The index of terms knows no order of chunks. Where there are more than places, those taken in first are looked at.
"""

import itertools
from collections.abc import Iterable, Mapping

from media.retrieval_ports import Candidates

# Of many chunks only those with the rarest terms of a question are looked at, until there are about so many; the other
# terms count for them, and bring no further ones.
MANY_CHUNKS = 2000
CANDIDATES = 1000
# More would take longer than anybody waits. Terms that bring more are looked for two at a time.
MAX_CANDIDATES = 5000
# So many of them, which makes six pairs; they have half of the places, since there may be more chunks than places.
PAIRED = 4
MAX_PAIRED = MAX_CANDIDATES // 2
# A word in more than this share of many chunks says nothing about any.
USUAL = 0.2


def candidates_of(terms: Iterable[int], counts: Mapping[int, int], chunks: int) -> list[Candidates]:
    """All chunks with the rarest terms; if these are few, also some with two of the others, and with the next one."""
    rarest = sorted(terms, key=lambda term: counts.get(term, 0))
    if chunks <= MANY_CHUNKS:
        return [Candidates(MAX_CANDIDATES, rarest)]
    telling = rarest[:1] + [term for term in rarest[1:] if counts.get(term, 0) <= USUAL * chunks]
    brought, whole = 0, list[int]()
    for term in telling:
        count = counts.get(term, 0)
        if brought >= CANDIDATES or brought + count > MAX_CANDIDATES:
            break
        whole.append(term)
        brought += count
    groups, others = [Candidates(MAX_CANDIDATES, whole)] if whole else [], telling[len(whole) :]
    if brought < CANDIDATES and others:
        pairs = list(itertools.combinations(others[:PAIRED], 2))
        groups += [Candidates(MAX_PAIRED, pairs=pairs)] if pairs else []
        groups.append(Candidates(MAX_CANDIDATES - MAX_PAIRED if pairs else MAX_CANDIDATES, others[:1]))
    return groups

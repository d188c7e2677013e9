"""Scores of several stages as one: each in standard deviations, so that none counts by its unit."""

import math
from collections.abc import Mapping
from statistics import fmean, pstdev
from typing import TypeVar

Id = TypeVar("Id")

LEXICAL_SHARE = 0.5
# Never the reranker alone: it is small, and worse than both stages on questions that name things.
RERANK_SHARE = 0.5


def fused(lexical: Mapping[Id, float], vector: Mapping[Id, float]) -> dict[Id, float]:
    """The weighted sum of both; what one stage did not find is as bad there as the worst that it found."""
    return _mixed(lexical, vector, LEXICAL_SHARE)


def reranked(before: Mapping[Id, float], rerank: Mapping[Id, float]) -> dict[Id, float]:
    """The fused scores of those that were looked at once more, mixed with what the reranker says of them."""
    return _mixed(rerank, {id: before[id] for id in rerank}, RERANK_SHARE)


def logit(probability: float) -> float:
    """Probabilities near 0 and 1 as far apart as they are."""
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))


def _mixed(one: Mapping[Id, float], other: Mapping[Id, float], share: float) -> dict[Id, float]:
    first, second = _standard(one), _standard(other)
    low, lower = min(first.values(), default=0.0), min(second.values(), default=0.0)
    return {
        id: share * first.get(id, low) + (1 - share) * second.get(id, lower)
        for id in [*first, *(id for id in second if id not in first)]
    }


def _standard(scores: Mapping[Id, float]) -> dict[Id, float]:
    if not scores:
        return {}
    mean = fmean(scores.values())
    # Of one, or of equals, nobody can say how good they are.
    deviation = pstdev(scores.values()) or 1.0
    return {id: (score - mean) / deviation for id, score in scores.items()}

"""How good a ranking is by labels of which passages answer a question."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

Id = TypeVar("Id")
DEPTH = 10


@dataclass(frozen=True)
class Measures:
    """Means over questions, 0..1. Recall at k: an answering passage is among the first k."""

    recall_1: float
    recall_5: float
    recall_10: float
    mrr_10: float
    ndcg_10: float


def measures(rankings: Sequence[Sequence[Id]], answers: Sequence[Collection[Id]]) -> Measures:
    """Those of rankings, each the best first, where `answers` are the passages that answer each question."""
    count = len(rankings) or 1
    ranks = [rank_of(ranking, right) for ranking, right in zip(rankings, answers, strict=True)]
    gains = [_ndcg(ranking, right) for ranking, right in zip(rankings, answers, strict=True)]
    recalls = [sum(rank <= depth for rank in ranks) / count for depth in (1, 5, DEPTH)]
    return Measures(
        recall_1=recalls[0],
        recall_5=recalls[1],
        recall_10=recalls[2],
        mrr_10=sum(1 / rank for rank in ranks if rank <= DEPTH) / count,
        ndcg_10=sum(gains) / count,
    )


def rank_of(ranking: Sequence[Id], right: Collection[Id]) -> float:
    """The place of the first passage that answers, from 1; infinity where none does."""
    return next((float(place) for place, id in enumerate(ranking, 1) if id in right), math.inf)


def _ndcg(ranking: Sequence[Id], right: Collection[Id]) -> float:
    """Gain discounted by the logarithm of the place (K. Järvelin and J. Kekäläinen 2002), of the best that could be."""
    gain = sum(1 / math.log2(place + 1) for place, id in enumerate(ranking[:DEPTH], 1) if id in right)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(len(right), DEPTH) + 1))
    return gain / best if best else 0.0

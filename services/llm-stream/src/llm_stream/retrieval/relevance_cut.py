"""Which of the passages that a search found are worth showing to a model.

Every search finds something. What is kept has to be good by itself, and not far behind the best.
"""

from collections.abc import Sequence

from common.events.search import Passage, StageScores

# Measured on SQuAD's questions, see deploy/adr/0043; `tests.bench retrieval` reports them on other sets.
LEAST_COSINE = 0.25
FAR_BEHIND = 1.5


def relevant(passages: Sequence[Passage]) -> list[Passage]:
    """The relevant ones of a search's passages, in their order."""
    if not passages:
        return []
    best = passages[0].score
    return [passage for passage in passages if _is_close(passage.scores) and best - passage.score <= FAR_BEHIND]


def _is_close(scores: StageScores) -> bool:
    """Whether it speaks of what is asked; without a vector that cannot be told from one query."""
    return scores.vector is None or scores.vector >= LEAST_COSINE

"""Which of the passages that a search found are worth showing to a model.

Every search finds something. So the best of what it found has to be near what was asked, and the others near the best.
"""

from collections.abc import Sequence

from common.events.search import Passage, SearchResults

# Cosine of question and passage, by the model that made the vectors: 98 of 100 questions of SQuAD have their answer
# nearer than that, 86 of 100 that were asked of something else have nothing as near. Other models are not measured.
LEAST_COSINE = {"all-minilm-l6-v2": 0.35}
# Of scores in standard deviations: on SQuAD 92 of 100 passages that are so near the best are of the right article.
FAR_BEHIND = 1.0


def relevant(results: SearchResults) -> Sequence[Passage]:
    """The relevant ones of what a search found, in their order; without vectors nobody can tell that none is."""
    cosines = [passage.scores.vector for passage in results.data if passage.scores.vector is not None]
    if cosines and max(cosines) < LEAST_COSINE.get(results.model or "", -1.0):
        return ()
    best = results.data[0].score if results.data else 0.0
    return [passage for passage in results.data if best - passage.score <= FAR_BEHIND]

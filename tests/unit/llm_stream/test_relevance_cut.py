"""What of a search's finds a model is shown: nothing where all is far off, and nothing far behind the best."""

from common.events.search import Passage, SearchResults
from llm_stream.retrieval.relevance_cut import FAR_BEHIND, LEAST_COSINE, relevant
from tests.support.found_passages import passage

MODEL = "all-minilm-l6-v2"
NEAR, FAR = LEAST_COSINE[MODEL] + 0.01, LEAST_COSINE[MODEL] - 0.01


def shown(*passages: Passage, model: str | None = MODEL) -> list[int]:
    """The numbers of the passages that are relevant."""
    results = SearchResults(object="search.results", mode="reranked", model=model, data=passages, seconds={})
    return [passage.ordinal for passage in relevant(results)]


def test_what_is_far_behind_the_best_is_left_out() -> None:
    best, near = passage("a", number=1, score=2.0), passage("b", number=2, score=2.0 - FAR_BEHIND)
    far = passage("c", number=3, score=1.9 - FAR_BEHIND)
    assert shown(best, near, far) == [1, 2]


def test_where_nothing_is_near_the_question_nothing_is_shown() -> None:
    assert shown(passage("a", cosine=FAR), passage("b", cosine=None)) == []


def test_one_that_is_near_speaks_for_those_that_were_found_by_their_words() -> None:
    assert shown(passage("a", number=1, cosine=None), passage("b", number=2, cosine=NEAR)) == [1, 2]


def test_without_a_vector_and_with_a_model_that_was_not_measured_the_ranking_is_believed() -> None:
    assert shown(passage("a", cosine=None)) == [1]
    assert shown(passage("a", cosine=FAR), model="somebody's") == [1]


def test_nothing_found_is_nothing_shown() -> None:
    assert shown() == []

"""The measures of rankings, against figures worked out by hand."""

import math

import pytest

from tests.bench.ranking_measures import measures, rank_of


def test_the_rank_is_that_of_the_first_that_answers() -> None:
    assert rank_of(["a", "b", "c"], {"c", "b"}) == 2
    assert rank_of(["a"], {"z"}) == math.inf


def test_recall_and_reciprocal_ranks_are_means_over_questions() -> None:
    found = measures([["a", "b"], ["x", "y", "z"], ["n"]], [{"a"}, {"z"}, {"m"}])
    assert found.recall_1 == pytest.approx(1 / 3)
    assert found.recall_5 == pytest.approx(2 / 3)
    assert found.mrr_10 == pytest.approx((1 + 1 / 3) / 3)
    assert found.ndcg_10 == pytest.approx((1 + 1 / math.log2(4)) / 3)


def test_what_stands_behind_the_tenth_place_counts_for_nothing() -> None:
    found = measures([[str(place) for place in range(11)]], [{"10"}])
    assert (found.recall_10, found.mrr_10, found.ndcg_10) == (0, 0, 0)


def test_two_answers_are_best_in_the_first_two_places() -> None:
    assert measures([["a", "b", "c"]], [{"a", "b"}]).ndcg_10 == pytest.approx(1)
    assert measures([["a", "c", "b"]], [{"a", "b"}]).ndcg_10 < 1

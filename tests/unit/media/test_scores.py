"""Scores: BM25 as its authors have it, and several stages as one."""

import math

import pytest

from media.retrieval.lexical_terms import K1, USUAL_TERMS, B, rarity, sparse, term_id, term_weights, terms_of
from media.retrieval.score_fusion import fused, logit, reranked


def test_terms_are_stemmed_words_without_stop_words() -> None:
    assert terms_of("The lamps' WARRANTIES, and the dog\u2019s 2.5 l kettle") == [
        *("lamp", "warranti", "dog", "2", "5", "l", "kettl")
    ]
    assert terms_of("of the and") == []


def test_the_product_of_weights_and_rarities_is_bm25() -> None:
    terms = ["lamp"] * 3 + ["brass"] + ["other"] * 36
    weights = term_weights("org/default", terms)
    length = 1 - B + B * 40 / USUAL_TERMS
    expected = math.log(1 + (1000 - 10 + 0.5) / 10.5) * 3 * (K1 + 1) / (3 + K1 * length)
    assert weights[term_id("org/default", "lamp")] * rarity(10, 1000) == pytest.approx(expected)
    assert rarity(1000, 1000) > 0
    assert rarity(1200, 1000) == pytest.approx(rarity(1000, 1000), rel=0.2)


def test_scopes_share_no_term() -> None:
    assert term_id("a/default", "lamp") != term_id("b/default", "lamp")
    assert sparse({7: 0.25, 3: 1.5}) == "{3:1.5,7:0.25}/1000000000"


def test_fusion_does_not_depend_on_units() -> None:
    lexical, vector = {1: 10.0, 2: 5.0, 3: 1.0}, {2: 0.9, 3: 0.5, 4: 0.1}
    mixed = fused(lexical, vector)
    assert max(mixed, key=mixed.__getitem__) == 2
    scaled = fused({id: 100 * score for id, score in lexical.items()}, vector)
    assert scaled == pytest.approx(mixed)
    assert set(mixed) == {1, 2, 3, 4}


def test_fusion_of_little_says_something() -> None:
    assert fused({}, {}) == {}
    assert fused({1: 3.0}, {}) == {1: 0.0}
    assert fused({}, {1: 0.2, 2: 0.1})[1] > 0


def test_a_second_look_changes_the_order_but_not_alone() -> None:
    before = {1: 3.0, 2: 2.9, 3: -2.0}
    mixed = reranked(before, {1: logit(0.1), 2: logit(0.9), 3: logit(0.95)})
    assert max(mixed, key=mixed.__getitem__) == 2
    assert logit(1.0) > logit(0.999) > logit(0.5) == 0

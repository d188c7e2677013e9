"""Which chunks are scored by their words."""

from collections.abc import Mapping

import pytest

from media.retrieval_ports import Candidates
from media.search.lexical_candidates import MAX_CANDIDATES, MAX_PAIRED, candidates_of

CHUNKS = 100_000
ALL, HALF = MAX_CANDIDATES, MAX_PAIRED


@pytest.mark.parametrize(
    ("counts", "chunks", "groups"),
    [
        pytest.param({1: 900, 2: 1500, 3: 1900}, 2000, [Candidates(ALL, [1, 2, 3])], id="few chunks: every term"),
        pytest.param({1: 900, 2: 400}, CHUNKS, [Candidates(ALL, [3, 2, 1])], id="rarest first, unknown ones too"),
        pytest.param({1: 900, 2: 400, 3: 300}, CHUNKS, [Candidates(ALL, [3, 2, 1])], id="all of them fit"),
        pytest.param({1: 1200, 2: 1300, 3: 1400}, CHUNKS, [Candidates(ALL, [1])], id="the rarest bring enough"),
        pytest.param(
            {1: 10, 2: 6000, 3: 7000},
            CHUNKS,
            [Candidates(ALL, [1]), Candidates(HALF, pairs=[(2, 3)]), Candidates(ALL - HALF, [2])],
            id="a usual word drives no rare one out",
        ),
        pytest.param(
            {1: 6000, 2: 7000, 3: 8000},
            CHUNKS,
            [Candidates(HALF, pairs=[(1, 2), (1, 3), (2, 3)]), Candidates(ALL - HALF, [1])],
            id="no word is rare",
        ),
        pytest.param({1: 6000, 2: 50_000, 3: 60_000}, CHUNKS, [Candidates(ALL, [1])], id="all but one say nothing"),
    ],
)
def test_candidates_are_those_of_the_rarest_terms(
    counts: Mapping[int, int], chunks: int, groups: list[Candidates]
) -> None:
    assert candidates_of([1, 2, 3], counts, chunks) == groups


def test_a_question_of_one_usual_word_is_answered() -> None:
    assert candidates_of([1], {1: 90_000}, CHUNKS) == [Candidates(ALL, [1])]

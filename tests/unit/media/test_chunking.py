"""Texts in chunks: nothing is lost, nothing is too long, neighbours overlap."""

from hypothesis import given
from hypothesis import strategies as st

from media.retrieval.chunking import CHUNK_TOKENS, HEADING_TOKENS, OVERLAP_TOKENS, chunks_of
from media.retrieval.document_text import Block, joined
from media.retrieval.lexical_terms import word_starts

WORDS = st.lists(st.sampled_from(["a", "lamp", "brass.", "why?", "\n", "thirty", "(months)", "x" * 300]), min_size=1)
BLOCKS = st.lists(st.builds(Block, WORDS.map(" ".join), st.sampled_from([0, 0, 0, 1, 2, 3])), min_size=1, max_size=12)


@given(BLOCKS)
def test_chunks_hold_every_word_in_order_and_no_more_than_fit(blocks: list[Block]) -> None:
    document = joined(blocks)
    chunks = chunks_of(document, word_starts)
    for chunk in chunks:
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert 0 < len(word_starts(chunk.text)) <= CHUNK_TOKENS + 1
    covered = {at for chunk in chunks for at in range(chunk.start, chunk.end)}
    for section in document.sections:
        wanted = {at for at in range(section.start, section.end) if not document.text[at].isspace()}
        assert wanted <= covered
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(set(starts))


def test_neighbours_share_a_sentence() -> None:
    sentences = [f"Sentence number {number} of this long text says little." for number in range(100)]
    first, second, *_ = chunks_of(joined([Block(" ".join(sentences))]), word_starts)
    shared = first.text[second.start - first.start :]
    assert first.end > second.start
    assert shared.strip() in second.text
    assert len(word_starts(shared)) <= OVERLAP_TOKENS


def test_headings_are_carried_and_bounded() -> None:
    blocks = [Block("Manual " * 60, 1), Block("Care", 2), Block("Dust it.")]
    [chunk] = chunks_of(joined(blocks), word_starts)
    assert chunk.heading == "Care"
    assert chunk.searched == "Care\nDust it."
    [alone] = chunks_of(joined([Block("Manual " * 60, 1), Block("Dust it.")]), word_starts)
    assert alone.heading.startswith("Manual Manual")
    assert len(word_starts(alone.heading)) == HEADING_TOKENS

"""Where text may be cut, and what a fallback may not say again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.answer.sentences import MAX_HELD_CHARACTERS, SkipPrefix, releasable


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("", ""),
        ("Hello", ""),
        ("Hello.", ""),  # "3." may go on as "3.14"
        ("Hello. ", "Hello. "),
        ("Hello. How are", "Hello. "),
        ("One. Two! Three? Fo", "One. Two! Three? "),
        ('He said "stop!" and', 'He said "stop!" '),
        ("Wait\u2026 what", "Wait\u2026 "),
        ("3.14 is pi", ""),
        ("line one\nline two", "line one\n"),
        ("\u4f60\u597d\u3002\u518d", "\u4f60\u597d\u3002"),
        ("a" * (MAX_HELD_CHARACTERS - 1), ""),
        ("a" * MAX_HELD_CHARACTERS, "a" * MAX_HELD_CHARACTERS),
        ("word " * 60 + "end", "word " * 60),
    ],
)
def test_text_is_released_up_to_the_end_of_a_sentence(text: str, out: str) -> None:
    assert text[: releasable(text)] == out


@given(st.text(alphabet="ab .!?\n\u3002'\"", max_size=400))
def test_held_text_is_neither_lost_nor_held_for_long(text: str) -> None:
    held, out = "", ""
    for character in text:
        held += character
        end = releasable(held)
        out, held = out + held[:end], held[end:]
        assert len(held) < MAX_HELD_CHARACTERS
    assert out + held == text


def fed(released: str, pieces: list[str]) -> str:
    skip = SkipPrefix(released)
    return "".join(skip.feed(piece) for piece in pieces) + skip.finish()


@pytest.mark.parametrize(
    ("released", "said", "new"),
    [
        ("", " anything", " anything"),
        ("One. Two. ", "One. Two. Three.", "Three."),
        ("One. Two. ", "  One. Two.\nThree.", "Three."),
        ("One. Two. ", "Three.", "Three."),
        ("One. Two. ", " Three.", "Three."),
        ("One. Two. ", "One. More.", "One. More."),
        ("One. Two. ", "One.", "One."),
        ("One. Two. ", "One. Two.", ""),
        ("One. Two. ", "One. Two.  ", ""),
        ("List:\n", "  - indented", "  - indented"),
        ("List:\n", "List:\n  - indented", "  - indented"),
        ("List:\n", "\n- after a gap", "\n- after a gap"),
        ("\u4f60\u597d\u3002", "\u518d\u89c1", "\u518d\u89c1"),
        ("a" * 300, " b", " b"),
        ("One. ", "", ""),
        # Cut between tokens, so without the space.
        ("One. Two.", "Three.", " Three."),
        ("One. Two.", " Three.", " Three."),
        ("One. Two.", "One. Two. Three.", " Three."),
        ('He said "no."', "Three.", " Three."),
    ],
)
def test_what_a_fallback_repeats_is_skipped(released: str, said: str, new: str) -> None:
    assert fed(released, [said]) == new
    assert fed(released, list(said)) == new


@given(st.text(alphabet="ab. \n", max_size=40), st.text(alphabet="ab. \n", max_size=40), st.data())
def test_a_fallback_that_starts_over_word_for_word_adds_only_what_is_new(
    released: str, rest: str, data: st.DataObject
) -> None:
    said = released + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=5)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    heard = released + fed(released, pieces)
    assert heard.split() == said.split() or not released.strip()
    if released.strip() and rest.strip():
        assert heard == said

"""Texts are cut between sentences, in any script, and nothing of them gets lost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.speech.segments import FIRST_CHARACTERS, MAX_CHARACTERS, PARAGRAPH_PAUSE, segments, sentences

LONG = "This sentence stands here so that there is enough to say. " * 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met Mr. Jones. They talked.", ["Dr. Smith met Mr. Jones.", "They talked."]),
        ("It costs 3.50 euros. Cheap.", ["It costs 3.50 euros.", "Cheap."]),
        ("J. K. Rowling wrote it. Yes.", ["J. K. Rowling wrote it.", "Yes."]),
        ("See e.g. page 3. Then go on.", ["See e.g. page 3.", "Then go on."]),
        ("Am 3. Oktober ist frei. Gut.", ["Am 3. Oktober ist frei.", "Gut."]),
        ("He left in 1990. Then it rained.", ["He left in 1990.", "Then it rained."]),
        ('"Stop!" she said. "Now."', ['"Stop!"', "she said.", '"Now."']),
        ("Wait... What?", ["Wait...", "What?"]),
        (
            "\u4f60\u597d\u3002\u4e16\u754c\uff01\u8d70\u5427\uff1f",
            ["\u4f60\u597d\u3002", "\u4e16\u754c\uff01", "\u8d70\u5427\uff1f"],
        ),
        (
            "\u300c\u306f\u3044\u3002\u300d\u3068\u8a00\u3063\u305f\u3002",
            ["\u300c\u306f\u3044\u3002\u300d", "\u3068\u8a00\u3063\u305f\u3002"],
        ),
        (
            "\u0928\u092e\u0938\u094d\u0924\u0947\u0964 \u0906\u092a",
            ["\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "\u0906\u092a"],
        ),
        (
            "\u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f \u0628\u062e\u064a\u0631",
            ["\u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f", "\u0628\u062e\u064a\u0631"],
        ),
        ("a line\nanother line", ["a line", "another line"]),
    ],
)
def test_sentences_end_where_a_reader_would_rest(text: str, expected: list[str]) -> None:
    assert list(sentences(text)) == expected


def test_a_word_is_one_piece() -> None:
    [only] = segments("Hello")
    assert (only.text, only.pause) == ("Hello", 0.0)


def test_the_first_piece_is_short_and_no_piece_is_long() -> None:
    pieces = segments(LONG)
    assert len(pieces[0].text) <= FIRST_CHARACTERS
    assert max(len(piece.text) for piece in pieces) <= MAX_CHARACTERS
    assert " ".join(piece.text for piece in pieces) == " ".join(LONG.split())


def test_a_paragraph_has_a_longer_pause_behind_it() -> None:
    assert [piece.pause for piece in segments("First part here.\n\nSecond part here.")] == [PARAGRAPH_PAUSE, 0.0]


@pytest.mark.parametrize("text", ["", "   \n\n ", "...", "?!", "\u2014 \u2026 \u2014", "\u3002\u3002", "\U0001f600"])
def test_what_says_nothing_is_no_piece(text: str) -> None:
    assert segments(text) == []


@given(st.text(max_size=3_000))
def test_every_letter_is_said_once_and_in_order(text: str) -> None:
    def letters(given: str) -> str:
        return "".join(each for each in given if each.isalnum())

    pieces = segments(text)
    assert letters("".join(piece.text for piece in pieces)) == letters(text)
    assert all(len(piece.text) <= MAX_CHARACTERS for piece in pieces)


@pytest.mark.parametrize("unit", ["a. ", ".", ". ", '."', "A. ", "\u3002", "a,", "a", "\n", "1.", "e.g. "])
def test_no_text_takes_long(unit: str) -> None:
    text = unit * (40_000 // len(unit))
    began = time.process_time()
    segments(text)
    # It takes a tenth of this; a square of the length would take minutes.
    assert time.process_time() - began < 2.0

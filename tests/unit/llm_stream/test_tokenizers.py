"""Tokens are counted as the models count them, whatever a text holds, and nothing waits for a long one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.adapters import bpe
from llm_stream.adapters.bpe import MAX_PIECE_CHARACTERS, BpeTokenizers
from llm_stream.context import token_counter
from llm_stream.context.token_counter import EstimatingTokenizer, TokenCounter, open_token_counter
from llm_stream.ports import Tokenizer, TokenizerUnavailable
from tests.support.conversations import reference

__all__ = ["reference"]

TOKENIZERS = BpeTokenizers()
PROSE = "It's 8 o'clock in Zürich, and Ms. O'Neill said: \"I'll take 12,345 of THEM!\"\n\n  Добрый день, 你好。 "


@given(text=st.text() | st.text(alphabet=" \n\ta'sS1!Éд漢\u0301\U0001f44d", max_size=80))
def test_any_text_is_counted_as_the_reference_does(reference: tiktoken.Encoding, text: str) -> None:
    assert TOKENIZERS.load(reference.name).count(text) == len(reference.encode_ordinary(text))


def test_a_long_text_is_counted_in_pieces_as_it_would_be_at_once(reference: tiktoken.Encoding) -> None:
    text = PROSE * 2_000
    assert len(text) > 8 * MAX_PIECE_CHARACTERS
    assert TOKENIZERS.load(reference.name).count(text) == len(reference.encode_ordinary(text))


@pytest.mark.parametrize("unit", ["a", " ", "\n", "\u6f22", "7", "!?", "\U0001f44d\U0001f3fd", " \n", "\ta"])
def test_a_text_without_words_is_counted_within_a_hundredth(reference: tiktoken.Encoding, unit: str) -> None:
    text = unit * (50_000 // len(unit))
    exact = len(reference.encode_ordinary(text))
    assert abs(TOKENIZERS.load(reference.name).count(text) - exact) <= exact / 100


def test_a_million_spaces_are_counted(reference: tiktoken.Encoding) -> None:
    """The library alone overflows its stack with them."""
    assert TOKENIZERS.load(reference.name).count(" " * 1_000_000) > 0


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-5.2", "o200k_base"),
        ("ft:gpt-4o:acme", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("text-davinci-003", None),
        ("llama-3.3-70b", None),
    ],
)
def test_a_model_of_openai_is_known_by_its_name(model: str, name: str | None) -> None:
    assert TOKENIZERS.of_model(model) == name


def test_a_table_that_is_not_there_or_another_one_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bpe, "CARRIER", "nowhere_to_be_found")
    with pytest.raises(TokenizerUnavailable, match="not installed"):
        BpeTokenizers().load("o200k_base")
    package = tmp_path / "carrier_of_nothing"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(bpe, "CARRIER", package.name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TokenizerUnavailable, match="cannot be read"):
        BpeTokenizers().load("o200k_base")
    (package / "data").mkdir()
    (package / "data/o200k_base.tiktoken.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0")
    with pytest.raises(TokenizerUnavailable, match="not the one"):
        BpeTokenizers().load("o200k_base")


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("漢字漢字", 3), ("\ud800", 1)]
)
def test_an_estimate_goes_by_the_bytes(text: str, tokens: int) -> None:
    assert EstimatingTokenizer().count(text) == tokens


# -- counting and remembering ---------------------------------------------------------------------------------------


class Noting:
    """A tokenizer that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def count(self, text: str) -> int:
        self.asked.append(text)
        return len(text)


class One:
    """One model with a tokenizer, and one whose tokenizer cannot be loaded."""

    def __init__(self) -> None:
        self.noting = Noting()
        self.loads = 0

    def of_model(self, model: str) -> str | None:
        return {"known": "noting", "lost": "lost"}.get(model)

    def load(self, name: str) -> Tokenizer:
        self.loads += 1
        if name == "lost":
            raise TokenizerUnavailable("it is lost")
        return self.noting


async def counter_of(tokenizers: One) -> TokenCounter:
    counter = TokenCounter(tokenizers, ThreadPoolExecutor(1))
    assert await counter.load("noting")
    return counter


async def test_a_conversation_that_comes_back_is_counted_no_second_time() -> None:
    tokenizers = One()
    counter = await counter_of(tokenizers)
    assert await counter.counts("us", "noting", ["a", "bb", "a"]) == [1, 2, 1]
    assert await counter.counts("us", "noting", ["a", "bb", "ccc"]) == [1, 2, 3]
    assert tokenizers.noting.asked == ["a", "bb", "a", "ccc"]


async def test_what_one_organisation_said_is_not_remembered_for_another() -> None:
    tokenizers = One()
    counter = await counter_of(tokenizers)
    await counter.counts("us", "noting", ["secret"])
    await counter.counts("them", "noting", ["secret"])
    assert tokenizers.noting.asked == ["secret", "secret"]


async def test_what_is_remembered_is_bounded_and_what_is_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counter, "REMEMBERED", 100)
    tokenizers = One()
    counter = await counter_of(tokenizers)
    for at in range(1_000):
        await counter.counts("us", "noting", [f"once {at}", "again and again"])
    remembered = counter._remembered
    assert len(remembered._young) + len(remembered._old) <= 200
    assert tokenizers.noting.asked.count("again and again") == 1


async def test_nothing_waits_for_a_long_text() -> None:
    async with open_token_counter(TOKENIZERS) as counter:
        assert await counter.load("o200k_base")
        counting = asyncio.create_task(counter.counts("us", "o200k_base", [PROSE * 20_000, "short"]))
        turns = 0
        while not counting.done():
            await asyncio.sleep(0)
            turns += 1
    assert counting.result()[1] == 1
    assert turns > 100


async def test_a_tokenizer_that_cannot_be_loaded_is_asked_for_once() -> None:
    tokenizers = One()
    counter = await counter_of(tokenizers)
    assert await counter.tokenizer_of(("lost",)) == "lost"
    assert not await counter.load("lost")
    assert not await counter.load("lost")
    assert tokenizers.loads == 2
    assert await counter.load(None)


async def test_upstreams_of_several_tokenizers_have_none_in_common() -> None:
    async with open_token_counter(TOKENIZERS) as counter:
        assert await counter.tokenizer_of(("gpt-4o", "gpt-4.1-mini")) == "o200k_base"
        assert await counter.tokenizer_of(("gpt-4o", "gpt-4")) is None
        assert await counter.tokenizer_of(("gpt-4o", "llama-3.3-70b")) is None

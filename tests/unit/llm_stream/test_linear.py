"""What an upstream says costs what it is long, not the square of that, whatever it says."""

import time
from collections.abc import Callable, Mapping

import orjson
import pytest

from common.redaction import redact_text
from llm_stream.adapters.event_stream import EventLines
from llm_stream.answer.held import HeldText
from llm_stream.answer.sentences import SkipPrefix, releasable
from llm_stream.answer.template import Template
from llm_stream.ports import UpstreamBroken
from llm_stream.tools.arguments import readable
from llm_stream.tools.gathered import gathered
from llm_stream.tools.pairs import closed
from llm_stream.upstream.chunks import parse_chunk, read_chunk
from llm_stream.upstream.completions import read_completion
from llm_stream.upstream.errors import read_error_body
from llm_stream.upstream.tool_calls import ToolCallPieces
from llm_stream.upstream.values import MAX_CONTAINERS, parse

# Eight times the input: eight times the work, and 64 times where it grows with the square. Between them is room for
# caches and for a busy machine, since only the work of this thread is counted.
TIMES = 8
MOST = 30
# Of the smaller input; what takes less than this is measured too coarsely to be compared.
LEAST_SECONDS = 0.0005


def held(text: str) -> None:
    waiting = HeldText()
    for character in text:
        waiting.add(character)
        list(waiting.whole_sentences())


def repeated(text: str) -> None:
    skip = SkipPrefix(text)
    for character in text:
        skip.feed(character)
    skip.finish()


def lines(text: str) -> None:
    cut, line = EventLines(), b"data: " + text.encode()
    for start in range(0, len(line), 16):
        cut.feed(line[start : start + 16])
    cut.end()


def learnt(text: str) -> None:
    chunk = orjson.dumps({"choices": [{"delta": {"content": text}}]})
    Template.learn(chunk, chunk)


def page(text: str) -> None:
    read_error_body(("<html>" + text).encode(), 502)


def call_in_pieces(text: str) -> None:
    gathered({"index": 0, "function": {"arguments": character}} for character in text)


def unanswered_calls(text: str) -> None:
    calls = [{"id": f"{at}{character}"} for at, character in enumerate(text)]
    results = [{"role": "tool", "tool_call_id": call["id"]} for call in reversed(calls[::2])]
    closed([{"role": "assistant", "tool_calls": calls}, *results])


def arguments_of(text: str) -> None:
    readable(orjson.dumps({"text": text}).decode())


WORK: Mapping[str, tuple[Callable[[str], object], int]] = {
    "a cut": (releasable, 4_000),
    "held text": (held, 400),
    "a repetition": (repeated, 2_000),
    "a line in pieces": (lines, 40_000),
    "a shape": (learnt, 1_500),
    "a secret": (redact_text, 4_000),
    "a page": (page, 2_000),
    "a call in pieces": (call_in_pieces, 4_000),
    "unanswered calls": (unanswered_calls, 2_000),
    "arguments": (arguments_of, 4_000),
    "an error": (lambda text: read_error_body(orjson.dumps({"error": {"message": text}}), 400), 2_000),
}
TEXTS = ("!", "!'", ". ", "a", " ", "\n", "\u3002", '"', "bearer ", ":", ":a@", "sk-", "<title>", "exceed available ")


def cost(work: Callable[[str], object], text: str) -> float:
    """Seconds of this thread, the least of some runs."""
    found = []
    for _ in range(2):
        began = time.thread_time()
        work(text)
        found.append(time.thread_time() - began)
    return min(found)


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("text", TEXTS)
def test_work_grows_with_its_input(name: str, text: str) -> None:
    work, size = WORK[name]
    text *= size // len(text)
    small, large = cost(work, text), cost(work, text * TIMES)
    assert large <= MOST * max(small, LEAST_SECONDS)


def test_an_answer_of_too_many_parts_is_none() -> None:
    with pytest.raises(ValueError, match="more lists and objects"):
        parse(b"[" + b",".join([b"[]"] * (MAX_CONTAINERS + 1)) + b"]")
    assert len(parse(orjson.dumps({"text": "[{" * MAX_CONTAINERS}))["text"]) == 2 * MAX_CONTAINERS
    choices = [{"index": index, "delta": {"content": "x"}} for index in range(129)]
    with pytest.raises(UpstreamBroken):
        read_chunk({"choices": choices}, ToolCallPieces())
    with pytest.raises(UpstreamBroken):
        read_completion(orjson.dumps({"choices": choices}))


def test_what_stands_beside_the_choices_of_a_large_chunk_stays_small() -> None:
    chunk = {"model": "m", "id": "one", "extra": ["x"] * 40_000, "choices": [{"delta": {"content": "x"}}]}
    assert set(parse_chunk(orjson.dumps(chunk))) == {"model", "id", "choices"}
    assert parse_chunk(orjson.dumps({**chunk, "extra": ["x"]}))["extra"] == ["x"]

"""What a platform sends costs what it is long, not the square of that."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from common.dialects.dialect_table import DIALECTS, understand
from common.dialects.responses import chat_request

# Eight times the input: eight times the work, and 64 times where it grows with the square.
TIMES = 8
MOST = 30
# What takes less than this is measured too coarsely to be compared.
LEAST_SECONDS = 0.0005

USER = {"role": "user", "content": "a", "models": {"prosody": {"scores": {"Joy": 0.5}}}}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
PARTS = [{"type": "input_text", "text": "a"}]


def every_dialect(messages: Any) -> None:
    for dialect in DIALECTS.values():
        understand(dialect, {"messages": messages}, "s", scores=True)


WORK: Mapping[str, Callable[[int], object]] = {
    "the same words": lambda count: every_dialect([USER] * count),
    "words by turns": lambda count: every_dialect([USER, {"role": "assistant", "content": "b"}] * count),
    "no words": lambda count: every_dialect([{"role": "user", "content": " " * 50}] * count),
    "greetings": lambda count: every_dialect([{**USER, "content": " " * count + "Speak your greeting"}]),
    "a transcript": lambda count: understand(DIALECTS["retell"], {"transcript": [USER] * count}, "s"),
    "calls in a row": lambda count: chat_request({"input": [CALL] * count}),
    "parts": lambda count: chat_request({"input": [{"role": "user", "content": PARTS * count}]}),
    "scores": lambda count: every_dialect([{"models": {"prosody": {"scores": {str(at): "" for at in range(count)}}}}]),
}


def cost(work: Callable[[int], object], count: int) -> float:
    """Seconds of this thread, the least of some runs."""
    found = []
    for _ in range(3):
        began = time.thread_time()
        work(count)
        found.append(time.thread_time() - began)
    return min(found)


@pytest.mark.parametrize("name", WORK)
def test_work_grows_with_its_input(name: str) -> None:
    small, large = cost(WORK[name], 1_000), cost(WORK[name], 1_000 * TIMES)
    assert large <= MOST * max(small, LEAST_SECONDS)

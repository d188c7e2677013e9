"""`python -m tests.bench local-model`: how fast the model on this machine answers through Sonant, and what it takes."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import openai
import psutil

from tests.bench.measure import MEBIBYTE
from tests.bench.system import read_pids, scratch_directory
from tests.bench.tables import table
from tests.support.local_model import local_system

QUESTIONS = (
    "What is the capital of France?",
    "Explain in three sentences why the sky is blue.",
    "Give me a recipe for a simple tomato soup.",
    "What should I pack for a week by the sea?",
)


@dataclass
class Speed:
    """Seconds to the first token of each answer, and tokens a second behind it; MiB of the model's process."""

    first: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    memory: float = 0.0


async def ask(url: str, key: str, rounds: int) -> Speed:
    """Every question so often, one after the other, each a conversation of its own."""
    speed = Speed()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
        for question in QUESTIONS * rounds:
            await _answer(client, question, speed)
    return speed


async def _answer(client: openai.AsyncOpenAI, question: str, speed: Speed) -> None:
    began = time.monotonic()
    stream = await client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": question}],
        max_tokens=100,
        stream=True,
        stream_options={"include_usage": True},
    )
    first, tokens = 0.0, 0
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content and not first:
            first = time.monotonic()
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    speed.first.append(first - began)
    if tokens > 1:
        speed.rates.append((tokens - 1) / (time.monotonic() - first))


def main(arguments: Sequence[str]) -> int:
    """Measure, and print; 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench local-model", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each of four questions is asked")
    options = parser.parse_args(arguments)
    with scratch_directory() as scratch, local_system(scratch / "data") as (url, key):
        speed = asyncio.run(ask(url, key, options.rounds))
        speed.memory = memory_of(read_pids(scratch / "data"))
    head = ["answers of the local model", "first token p50 ms", "slowest ms", "tokens/s p50", "slowest", "model MiB"]
    row = [
        str(len(speed.first)),
        f"{statistics.median(speed.first) * 1000:.0f}",
        f"{max(speed.first) * 1000:.0f}",
        f"{statistics.median(speed.rates):.1f}",
        f"{min(speed.rates):.1f}",
        f"{speed.memory:.0f}",
    ]
    print(table(head, [row]))
    return 0


def memory_of(pids: Mapping[str, int]) -> float:
    """Resident MiB of the process that holds the model."""
    return psutil.Process(pids["local-model"]).memory_info().rss / MEBIBYTE

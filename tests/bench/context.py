"""`python -m tests.bench.context`: what it costs to fit a conversation to its window, before an upstream is asked."""

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil
import uvloop

from llm_stream.adapters.bpe import BpeTokenizers
from llm_stream.context.fit import Counted, fit
from llm_stream.context.image_tokens import USUAL
from llm_stream.context.outline import outline
from llm_stream.context.token_counter import TokenCounter, open_token_counter
from tests.bench.load import percentile

AIM_MS = 5.0
TOKENIZERS = (("o200k_base", "o200k_base"), ("cl100k_base", "cl100k_base"), ("estimate", None))
SAID = (
    "the weather tomorrow in mountains please would you like know whether rain or sun I think about it very much "
    "really train ticket window seat eight o'clock, half past nine. Zürich Genève don't we'll it's"
)

Message = dict[str, Any]


class Took(NamedTuple):
    """Milliseconds: all counted for the first time; with one exchange more than before; and all known."""

    first: float
    next_turn: float
    again: float


def conversation(messages: int, words: int, rng: random.Random) -> list[Message]:
    """Instructions, and a user and an assistant in turn, who say so many words in each message on average."""
    known = SAID.split()
    said = [" ".join(rng.choices(known, k=rng.randint(1, 2 * words - 1))) for _ in range(messages - 1)]
    roles = ("user", "assistant")
    return [
        {"role": "system", "content": "You are a helpful guide. Be brief."},
        *({"role": roles[at % 2], "content": text} for at, text in enumerate(said)),
    ]


async def fitted(messages: Sequence[Message], counter: TokenCounter, name: str | None) -> float:
    """Milliseconds of one fit that has to cut a half."""
    began = time.perf_counter()
    found = outline(messages, {}, USUAL)
    tokens = found.tokens(await counter.counts("org", name, found.texts))
    fit(Counted(messages, tokens), 3, sum(tokens) // 2)
    return (time.perf_counter() - began) * 1000


async def one(counter: TokenCounter, name: str | None, size: int, rng: random.Random) -> Took:
    """What a conversation that nobody has seen costs, and then the same once more."""
    messages = conversation(size + 2, 30, rng)
    first = await fitted(messages[:-2], counter, name)
    return Took(first, await fitted(messages, counter, name), await fitted(messages, counter, name))


async def measure(sizes: Sequence[int], rounds: int) -> None:
    """Print a line for each tokenizer and size."""
    process, rng = psutil.Process(), random.Random(12)
    print(f"{'':26} | {'first count':>17} | {'next turn':>17} | {'all known':>17}")
    print(f"{'tokenizer, messages':26} | " + " | ".join([f"{'p50':>7} {'p99':>6} ms"] * 3))
    for label, name in TOKENIZERS:
        async with open_token_counter(BpeTokenizers()) as counter:
            before, began = process.memory_info().rss, time.perf_counter()
            await counter.load(name)
            loaded, grown = time.perf_counter() - began, process.memory_info().rss - before
            for size in sizes:
                took = [await one(counter, name, size, rng) for _ in range(rounds)]
                cells = [
                    f"{percentile(column, 0.5):7.2f} {percentile(column, 0.99):6.2f} ms"
                    for column in map(list, zip(*took, strict=True))
                ]
                aim = ("ok" if percentile([each.next_turn for each in took], 0.5) <= AIM_MS else "missed") * (
                    size == 1_000
                )
                print(f"{label + f', {size:,}':26} | {' | '.join(cells)} | {aim}".rstrip(" |"))
            print(f"{label + ', loaded':26} | {loaded * 1000:7.0f} ms, {grown / 1024 / 1024:.0f} MiB")


def main() -> None:
    """Measure on the interpreter and the loop that the service runs on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", default="30,1000,5000", help="sizes of conversations")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    uvloop.run(measure([int(size) for size in options.messages.split(",")], options.rounds))


if __name__ == "__main__":
    main()

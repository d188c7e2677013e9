"""Speech measured on a system of its own: `python -m tests.bench.speech`.

How fast a kept phrase is answered, what 500 at once for a new one cost, and how soon a long text can be heard. The exit
code is 1 where more than one call was made for one phrase or an answer was wrong; it is never 1 because of a time.
"""

import argparse
import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import psutil
import uvloop

from tests.bench.measure import MEBIBYTE
from tests.support.sonant import Sonant, sonant_system

PHRASE = "Good evening, and welcome to our amazing content."
AT_ONCE = 500
LONG_SENTENCES = 200
AIM_CACHED_MS = 5.0


@dataclass(frozen=True)
class Figure:
    """One row: what it is, what came out, and what it should be where there is an aim."""

    what: str
    value: str
    aim: str = ""


class Bench:
    """Asks one system."""

    def __init__(self, sonant: Sonant, http: aiohttp.ClientSession) -> None:
        self._sonant = sonant
        self._http = http
        self.wrong: list[str] = []

    async def ask(self, text: str, format: str = "mp3") -> tuple[float, float, bytes]:
        """Seconds to the first byte and to the last, and the audio."""
        body = {"model": "tts-1", "voice": "nova", "input": text, "response_format": format}
        began, first = time.perf_counter(), 0.0
        audio = bytearray()
        async with self._http.post("/v1/audio/speech", json=body) as answer:
            async for chunk in answer.content.iter_any():
                first = first or time.perf_counter() - began
                audio += chunk
            if answer.status != 200:
                self.wrong.append(f"{answer.status}: {bytes(audio[:200])!r}")
        return first, time.perf_counter() - began, bytes(audio)

    def calls(self) -> int:
        told = self._sonant.sandbox("speech/charges")
        return sum(int(each["calls"]) for each in told.values())

    async def cached(self, count: int) -> list[Figure]:
        """One client, over and over."""
        figures = []
        for format in ("mp3", "wav"):
            await self.ask(PHRASE, format)
            took = sorted([(await self.ask(PHRASE, format))[1] * 1000 for _ in range(count)])
            p50, p99 = statistics.median(took), took[int(len(took) * 0.99)]
            figures.append(
                Figure(f"kept phrase, {format}, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", f"p50 <= {AIM_CACHED_MS:g} ms")
            )
        return figures

    async def stampede(self) -> Figure:
        """Many at once for a phrase that nobody has said."""
        text, before = f"Nobody has ever said {uuid.uuid4().hex}.", self.calls()
        began = time.perf_counter()
        answers = await asyncio.gather(*(self.ask(text) for _ in range(AT_ONCE)))
        took, calls = time.perf_counter() - began, self.calls() - before
        if calls != 1 or len({audio for _, _, audio in answers}) != 1:
            self.wrong.append(f"{calls} calls for one phrase")
        return Figure(f"{AT_ONCE} at once for one new phrase", f"{calls} call, {took:.2f} s in all", "1 call")

    async def long(self) -> list[Figure]:
        """A long text, new and kept."""
        name = uuid.uuid4().hex[:8]
        text = " ".join(f"Sentence {number} of the story {name} goes on." for number in range(LONG_SENTENCES))
        figures = []
        for how in ("new", "kept"):
            first, whole, audio = await self.ask(text)
            said = f"{first * 1000:.0f} ms / {whole:.2f} s ({len(audio) / MEBIBYTE:.1f} MiB)"
            figures.append(Figure(f"{len(text)} characters, {how}: first byte / all", said))
        return figures

    def memory(self) -> Figure:
        """Of the service media, without its worker processes."""
        resident = psutil.Process(self._sonant.pid("media")).memory_info().rss
        return Figure("media, resident", f"{resident / MEBIBYTE:.0f} MiB", "<= 150 MiB at rest")


async def measured(sonant: Sonant, count: int) -> tuple[list[Figure], Sequence[str]]:
    """All figures, and what was wrong."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(sonant.url, headers=sonant.headers, connector=connector) as http:
        bench = Bench(sonant, http)
        figures = [bench.memory(), *await bench.cached(count), await bench.stampede(), *await bench.long()]
        return figures, bench.wrong


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.speech", description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="how often the kept phrase is asked for")
    options = parser.parse_args()
    with sonant_system() as sonant:
        busy = psutil.cpu_percent(interval=1.0)
        figures, wrong = uvloop.run(measured(sonant, options.count))
    print(f"before it began, {busy:.0f} % of the cores were busy")
    for figure in figures:
        print(f"{figure.what:<50} {figure.value:<36} {figure.aim}")
    print("".join(f"wrong: {each}\n" for each in wrong), end="")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

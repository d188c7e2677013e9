"""The quiet tenant: an organisation that asks for chats and reads at a steady rate, whoever else is there.

Requests are begun by the clock, not when the one before has ended, and their time counts from when they were due. So a
system that stands still is seen in every request that it kept waiting. A process of its own; prints one JSON line.
"""

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import aiohttp
import uvloop

from tests.bench.load import KEY_VARIABLE, complaint_in_events, percentile

# What a patient client waits; beyond it the request has failed.
REQUEST_SECONDS = 30.0
CHAT = {
    "model": "default",
    "stream": True,
    "messages": [{"role": "user", "content": "Could you tell me when it will arrive?"}],
}
TOOLS = "/api/hume/tools?page_size=5"


@dataclass(slots=True)
class Lane:
    """One kind of request: milliseconds from due to done of the good ones, and why the others failed."""

    times: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def report(self) -> "LaneReport":
        return LaneReport(
            count=len(self.times) + self.reasons.total(),
            failed=self.reasons.total(),
            p50=percentile(self.times, 0.5),
            p99=percentile(self.times, 0.99),
            reasons=dict(self.reasons.most_common(3)),
        )


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What became of one kind of request; times in milliseconds."""

    count: int
    failed: int
    p50: float
    p99: float
    reasons: dict[str, int]


async def chat(session: aiohttp.ClientSession) -> str | None:
    """Ask for an answer and read it; why it is not whole and in order, if it is not."""
    async with session.post("/v1/chat/completions", json=CHAT) as answer:
        body = await answer.read()
        if answer.status != 200:
            return f"{answer.status}: {body[:160].decode(errors='replace')}"
        return complaint_in_events(body)


async def read(session: aiohttp.ClientSession) -> str | None:
    """Read a page of tools; what is wrong with it, if anything."""
    async with session.get(TOOLS, headers={"x-user-id": "quiet"}) as answer:
        body = await answer.read()
        return None if answer.status == 200 else f"{answer.status}: {body[:160].decode(errors='replace')}"


async def timed(lane: Lane, due: float, ask: Callable[[], Awaitable[str | None]]) -> None:
    """One request, from when it was due."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            reason = await ask()
    except TimeoutError:
        reason = f"no end within {REQUEST_SECONDS:.0f} s"
    except (aiohttp.ClientError, OSError) as error:
        reason = repr(error)
    if reason is None:
        lane.times.append((time.monotonic() - due) * 1000)
    else:
        lane.reasons[reason] += 1


async def steady(lane: Lane, rate: float, until: float, ask: Callable[[], Awaitable[str | None]]) -> None:
    """`rate` requests a second until then (monotonic), and the end of those in flight."""
    due = time.monotonic()
    async with asyncio.TaskGroup() as group:
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(timed(lane, due, ask))
            due += 1 / rate


async def run(url: str, key: str, seconds: float, rate: float) -> dict[str, LaneReport]:
    """Chats and reads, `rate` of each a second."""
    until = time.monotonic() + seconds
    chats, reads = Lane(), Lane()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {key}"}, connector=connector) as session:
        await asyncio.gather(
            steady(chats, rate, until, partial(chat, session)), steady(reads, rate, until, partial(read, session))
        )
    return {"chats": chats.report(), "reads": reads.report()}


def main() -> None:
    """Command line: `python -m tests.bench.attacks.quiet_tenant --url URL --seconds 60`; key in SONANT_API_KEY."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5.0, help="chats a second, and reads")
    options = parser.parse_args()
    reports = uvloop.run(run(options.url, os.environ[KEY_VARIABLE], options.seconds, options.rate))
    print(json.dumps({name: asdict(report) for name, report in reports.items()}))


if __name__ == "__main__":
    main()

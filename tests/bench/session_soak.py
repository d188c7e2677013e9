"""Memory over many sessions: `python -m tests.bench.session_soak --sessions 20000`.

Each session has two turns, of which the second sends only what is new. The table shows what each process holds, and
what the live store holds of sessions. That is flat where the bounds hold: `--hot` sets that of the live store low.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

import httpx
import psutil
from redis import Redis

from tests.support.clients import chat, client, new_key
from tests.support.sonant import Sonant, sonant_system

NAMES = ("gateway", "llm-stream", "telemetry", "valkey")
ROWS = 10


def memory(system: Sonant) -> list[float]:
    """Resident MiB of each process, those of a tree together."""
    found = []
    for name in NAMES:
        process = psutil.Process(system.pid(name))
        tree = [process, *process.children(recursive=True)]
        found.append(sum(each.memory_info().rss for each in tree) / 2**20)
    return found


async def one(http: httpx.AsyncClient, number: int) -> None:
    headers = {"x-session-id": f"soak-{number}", "x-user-id": f"user-{number % 100}"}
    for text in (f"Say: the first answer of {number}, which is a sentence.", f"Say: the second one of {number}."):
        answer = await http.post("/v1/chat/completions", json=chat(text, store=True), headers=headers)
        answer.raise_for_status()


async def worker(http: httpx.AsyncClient, numbers: Sequence[int]) -> None:
    for number in numbers:
        await one(http, number)


async def soak(system: Sonant, sessions: int, clients: int) -> None:
    print(
        "| sessions | seconds | " + " | ".join(f"{name} MiB" for name in NAMES) + " | sessions in the live store, MiB |"
    )
    print("|---" * (len(NAMES) + 3) + "|")
    began, step = time.monotonic(), max(1, sessions // ROWS)
    key = new_key(system)
    async with client(system.url, key.headers) as http:
        for done in range(0, sessions + 1, step):
            with Redis.from_url(system.urls()["redis"]) as redis:
                hot = int(redis.get("sonant:sessions:bytes") or 0) / 2**20
            figures = " | ".join(f"{each:.1f}" for each in memory(system))
            print(f"| {done} | {time.monotonic() - began:.0f} | {figures} | {hot:.2f} |", flush=True)
            numbers = range(done, min(done + step, sessions))
            await asyncio.gather(*(worker(http, numbers[at::clients]) for at in range(clients)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--hot", type=int, default=8, help="MiB that the live store may hold of sessions")
    arguments = parser.parse_args()
    with sonant_system(env={"SONANT_HOT_SESSIONS_BYTES": str(arguments.hot * 2**20)}) as system:
        asyncio.run(soak(system, arguments.sessions, arguments.clients))


if __name__ == "__main__":
    main()

"""How many interactions are accepted and stored: one by one and in batches, how soon, and at what price.

`python -m tests.bench ingest` starts a Sonant of its own on each log. A load process reports from a few connections,
each the next request once the last one was answered. Then what was accepted is waited for in the database.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import orjson
import psutil
import uvloop

from tests.bench.budgets import Aim
from tests.bench.load import KEY_VARIABLE
from tests.bench.measure import MEBIBYTE
from tests.bench.system import chosen_logs, kafka_broker
from tests.bench.tables import aims_table, number, table
from tests.support.sonant import Sonant, sonant_system

BATCH = "/v2/interactions:batch"
TEXT = "the answer to your question is that we ship on Monday and you will hear from us by mail before noon"
WORDS = TEXT.split()
TEXT_WORDS = 60
NO_ID = b"00000000-0000-0000-0000-000000000000"
SETTLED_SECONDS = 180.0
SERVICES = ("gateway", "telemetry", "postgres", "valkey")
# Items a second at which it is asked how soon they are seen.
PACED = 5000.0
# Nothing here is about quotas.
SETTINGS = {"SONANT_LOG_BYTES_PER_MINUTE": "0", "SONANT_CANARY_SECONDS": "0"}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a load process saw: items accepted within `seconds`, and the times of its requests in ms."""

    items: int
    seconds: float
    p50: float
    p99: float
    failed: int


def new_id() -> bytes:
    """A UUID of version 7, in its text form."""
    value = round(time.time() * 1000) << 80 | 0x7 << 76 | int.from_bytes(os.urandom(10)) & ((1 << 76) - 1)
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)).encode()


def body_of(items: int) -> list[bytes]:
    """A batch of interactions of about a kilobyte each, in the parts between its ids."""
    interactions = []
    for place in range(items):
        words = " ".join(WORDS[(place + step) % len(WORDS)] for step in range(TEXT_WORDS))
        interactions.append(
            {
                "id": NO_ID.decode(),
                "user_prompt": f"{place}: {words}",
                "ai_response": f"{words} {place}",
                "metaData": {"feature": "checkout", "attempt": place},
                "user_id": f"user-{place % 50}",
                "session_id": f"session-{place % 10}",
                "llm_model": "gpt-4o",
                "token_count": {"prompt": 80, "completion": 90},
                "step_data": [{"name": "retrieve", "duration_ms": 12.5}],
                "response_time": 812.5,
            }
        )
    return orjson.dumps({"items": interactions}).split(NO_ID)


class Reporter:
    """One connection that reports, and waits for each answer."""

    def __init__(self, url: str, key: str, items: int) -> None:
        split = urlsplit(url)
        self._address = (split.hostname or "", split.port or 80)
        self._parts, self._items = body_of(items), items
        length = sum(map(len, self._parts)) + len(NO_ID) * items
        self._head = (
            f"POST {BATCH} HTTP/1.1\r\nhost: {split.netloc}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ).encode()
        self.accepted = self.failed = 0
        self.times: list[float] = []

    async def run(self, until: float, pause: float) -> None:
        """Report until this moment (monotonic), with as long between the starts of two requests."""
        reader, writer = await asyncio.open_connection(*self._address)
        while time.monotonic() < until:
            began = time.monotonic()
            body = b"".join(part + new_id() for part in self._parts[:-1]) + self._parts[-1]
            writer.write(self._head + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            self.times.append(time.monotonic() - began)
            if head.startswith(b"HTTP/1.1 200"):
                self.accepted += int(answer.partition(b'"accepted":')[2].partition(b",")[0])
            else:
                self.failed += self._items
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))
        writer.close()


async def report(url: str, key: str, options: argparse.Namespace) -> Accepted:
    """The load process: all its connections, for so many seconds."""
    reporters = [Reporter(url, key, options.items) for _ in range(options.connections)]
    pause = options.items * options.connections / options.rate if options.rate else 0.0
    began = time.monotonic()
    await asyncio.gather(*(reporter.run(began + options.seconds, pause) for reporter in reporters))
    took = time.monotonic() - began
    times = sorted(each for reporter in reporters for each in reporter.times)
    return Accepted(
        sum(reporter.accepted for reporter in reporters),
        took,
        statistics.median(times) * 1000,
        times[int(len(times) * 0.99)] * 1000,
        sum(reporter.failed for reporter in reporters),
    )


def cpu_of(system: Sonant) -> dict[str, float]:
    """Seconds of the processor that each process, with its children, has used."""
    used = {}
    for name in SERVICES:
        described = system.run()["processes"].get(name)
        if described is None:
            continue
        family = [(own := psutil.Process(described["pid"])), *own.children(recursive=True)]
        used[name] = sum(sum(each.cpu_times()[:2]) for each in family)
    return used


async def stored(system: Sonant, org_id: str, items: int) -> float:
    """Wait until so many items are stored; when that was (monotonic)."""
    connection = await asyncpg.connect(system.urls()["database"])
    deadline = time.monotonic() + SETTLED_SECONDS
    try:
        query = "SELECT coalesce(sum(stored), 0) FROM telemetry.ledger WHERE org_id = $1"
        while await connection.fetchval(query, org_id) < items:
            assert time.monotonic() < deadline, "not everything was stored"
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return time.monotonic()


def visible(system: Sonant) -> dict[float, float]:
    """The cumulative buckets of the time until a batch is visible."""
    page = system.ops("telemetry", "/metrics").text
    prefix = 'sonant_interaction_visible_seconds_bucket{le="'
    lines = [line.removeprefix(prefix) for line in page.splitlines() if line.startswith(prefix)]
    return {float(line.partition('"')[0]): float(line.rpartition(" ")[2]) for line in lines}


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The bucket that holds this share of what came between two looks, by its upper edge in seconds."""
    grown = {edge: count - before.get(edge, 0.0) for edge, count in sorted(after.items())}
    most = max(grown.values(), default=0.0)
    return next((edge for edge, count in grown.items() if count >= share * most), float("nan"))


@dataclass(frozen=True, slots=True)
class Row:
    """What one load came to; `cpu` are seconds per 10,000 items and `memory` MiB, by process."""

    items: int
    rate: float
    accepted: float
    stored: float
    p50: float
    p99: float
    visible_p50: float
    visible_p99: float
    failed: int
    memory: dict[str, float]
    cpu: dict[str, float]


def measure(system: Sonant, options: argparse.Namespace) -> Row:
    """One row: a load of its own process, for an organisation of its own."""
    org_id = f"bench-{uuid.uuid4().hex[:8]}"
    body = {"name": "bench", "organization": org_id, "scopes": ["ingest", "admin"]}
    key = httpx.post(f"{system.url}/v1/admin/keys", headers=system.headers, json=body).json()["key"]
    before, seen, began = cpu_of(system), visible(system), time.monotonic()
    command = [sys.executable, "-m", "tests.bench.ingest", "--url", system.url]
    for name in ("items", "connections", "seconds", "rate"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, env={**os.environ, KEY_VARIABLE: key}, capture_output=True, text=True, check=True)
    found = Accepted(**json.loads(done.stdout))
    at = uvloop.run(stored(system, org_id, found.items))
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in cpu_of(system).items()}
    return Row(
        options.items,
        options.rate,
        found.items / found.seconds,
        found.items / (at - began),
        found.p50,
        found.p99,
        quantile(seen, visible(system), 0.5),
        quantile(seen, visible(system), 0.99),
        found.failed,
        {name: memory_of(system, name) for name in ("gateway", "telemetry")},
        {name: seconds / found.items * 10_000 for name, seconds in spent.items()},
    )


def memory_of(system: Sonant, name: str) -> float:
    """What a process holds, in MiB."""
    return float(psutil.Process(system.run()["processes"][name]["pid"]).memory_info().rss) / MEBIBYTE


def rows_of(log: str, seconds: float) -> Iterator[Row]:
    """One by one, in batches, and in batches at the rate for which there is an aim; on a system of its own."""
    with log_settings(log) as settings, sonant_system(env={**SETTINGS, **settings}) as system:
        for items, connections, rate in ((1, 32, 0.0), (100, 8, 0.0), (100, 8, PACED)):
            yield measure(system, argparse.Namespace(items=items, connections=connections, rate=rate, seconds=seconds))


@contextmanager
def log_settings(log: str) -> Iterator[dict[str, str]]:
    """The settings for a log: with Kafka that of a broker, which ends with this context."""
    if log == "embedded":
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="sonant-bench-") as folder, kafka_broker(Path(folder)) as broker:
        yield {"SONANT_LOG_URL": broker.url}


def report_of(rows: Sequence[Row]) -> str:
    """All rows of a log, and the aims beside their figures."""
    head = ["items a request", "accepted/s", "stored/s", "p50 ms", "p99 ms", "visible p50 s", "p99 s", "failed"]
    head += [f"{name} MiB" for name in rows[0].memory] + [f"{name} CPU s" for name in rows[0].cpu]
    return f"{table(head, map(line_of, rows))}\n(CPU: for 10,000 items)\n\n{aims_table(aims_of(rows))}"


def line_of(row: Row) -> list[str]:
    """A row as it is printed."""
    name = f"{row.items}" if not row.rate else f"{row.items}, {row.rate:,.0f}/s asked for"
    figures = [number(row.accepted, 0), number(row.stored, 0), number(row.p50), number(row.p99)]
    figures += [number(row.visible_p50, 2), number(row.visible_p99, 2), str(row.failed)]
    return [name, *figures, *(number(mib, 0) for mib in row.memory.values()), *(number(s, 2) for s in row.cpu.values())]


def aims_of(rows: Sequence[Row]) -> list[Aim]:
    """What one gateway process is to take, and how soon what was taken is to be seen."""
    singles, batches, paced = rows
    return [
        Aim("accepted one by one", singles.accepted, 1500, "items/s", at_least=True),
        Aim("accepted in batches", batches.accepted, 20_000, "items/s", at_least=True),
        Aim(f"visible at {PACED:,.0f}/s, p99", paced.visible_p99, 2.0, "s"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """All rows on each log, or with `--url` the load of one row; 1 where something was refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench ingest", description=__doc__)
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--url", help="only report to this gateway, and print what was seen")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="items a second; 0 is as many as are answered")
    options = parser.parse_args(arguments)
    if options.url:
        print(json.dumps(asdict(uvloop.run(report(options.url, os.environ[KEY_VARIABLE], options)))))
        return 0
    failed = 0
    for log in chosen_logs(options.log):
        rows = list(rows_of(log, options.seconds))
        print(f"{log}\n{report_of(rows)}\n", flush=True)
        failed += sum(row.failed for row in rows)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

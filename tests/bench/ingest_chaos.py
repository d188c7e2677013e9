"""`python -m tests.bench.ingest_chaos`: many interactions from several SDK processes while every part is killed.

Four programs log through the SDK, each with the spool of its own, as fast as a pace allows. Meanwhile one of them, the
gateway, telemetry, PostgreSQL and the log are ended by SIGKILL, each as often as was asked for. In the end everything
that `log` had returned for is in the store, each once, and the ledger is balanced. It fails where that is not so.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg

from deploy.kafka import broker as kafka
from huggingplace import HuggingPlace
from tests.support.clients import Key, client
from tests.support.ingest import ingest_key, rows
from tests.support.sonant import ROOT, Sonant, sonant_system
from tests.support.waiting import eventually

PROGRAM = ROOT / "tests" / "integration" / "huggingplace" / "logging_program.py"
PROGRAMS = 4
# Bytes of a line with an id.
LINE_BYTES = 37
BACK_SECONDS = 120.0
SETTLED_SECONDS = 900.0
SETTINGS = {"SONANT_LOG_BYTES_PER_MINUTE": "0"}


@dataclass
class Programs:
    """The programs that log, and the ids that they printed after `log` had returned."""

    variables: dict[str, str]
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    files: list[BinaryIO] = field(default_factory=list)

    def start(self) -> None:
        """One more."""
        file = (self.folder / f"ids-{len(self.files)}").open("wb")
        self.files.append(file)
        command = [sys.executable, str(PROGRAM), "log_at_a_pace"]
        self.running.append(subprocess.Popen(command, env=self.variables, stdout=file))

    def kill_one(self) -> None:
        """SIGKILL for one, and another in its place, which finds what it left."""
        victim = self.running.pop(random.randrange(len(self.running)))
        victim.kill()
        victim.wait()
        self.start()

    def end(self) -> None:
        """SIGKILL for all of them."""
        for program in self.running:
            program.kill()
            program.wait()
        self.running.clear()
        for file in self.files:
            file.close()

    def count(self) -> int:
        """How many ids they have printed."""
        return sum(Path(file.name).stat().st_size for file in self.files) // LINE_BYTES

    def logged(self) -> Counter[str]:
        """The ids; a line that was cut by a kill is left out."""
        return Counter(line.decode() for file in self.files for line in Path(file.name).read_bytes().split(b"\n")[:-1])


@contextmanager
def programs_of(system: Sonant, key: Key, folder: Path) -> Iterator[Programs]:
    """All programs, at work."""
    own = {
        "HUGGINGPLACE_API_KEY": key.text,
        "HUGGINGPLACE_ORG_ID": key.organization,
        "HUGGINGPLACE_BASE_URL": system.url,
        "HUGGINGPLACE_SPOOL_DIR": str(folder / "spool"),
        "HUGGINGPLACE_FLUSH_INTERVAL": "0.2",
        "HUGGINGPLACE_TIMEOUT": "5",
    }
    programs = Programs({**os.environ, **own}, folder)
    try:
        for _ in range(PROGRAMS):
            programs.start()
        yield programs
    finally:
        programs.end()


async def kill_part(system: Sonant, name: str) -> None:
    """SIGKILL, and a wait until another one is in its place and the services work."""
    former = system.kill(name)
    await eventually(lambda: system.run()["processes"][name]["pid"] not in (None, former), timeout=BACK_SECONDS)
    await eventually(lambda: system.ready("gateway", "telemetry"), timeout=BACK_SECONDS)


async def flood(programs: Programs, events: int, kills: dict[str, Callable[[], Awaitable[Any]]], rounds: int) -> None:
    """Let them log so many, killing each part as often as `rounds` says, spread over the events."""
    plan = [name for name in kills for _ in range(rounds)]
    random.shuffle(plan)
    for number, name in enumerate(plan):
        due = events * (number + 1) // (len(plan) + 1)
        await eventually(lambda: programs.count() >= due, timeout=BACK_SECONDS * 10)  # noqa: B023
        began = time.monotonic()
        await kills[name]()
        print(f"{programs.count():>7} logged: {name} killed, all back after {time.monotonic() - began:.1f} s")
    await eventually(lambda: programs.count() >= events, timeout=BACK_SECONDS * 10)


async def stored(system: Sonant, key: Key) -> Counter[str]:
    """The ids that the store has; none while it is away."""
    query = "SELECT id::text FROM telemetry.chat WHERE org_id = $1"
    try:
        return Counter(row["id"] for row in await rows(system, query, key.organization))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return Counter()


async def check(system: Sonant, key: Key, logged: Counter[str], folder: Path) -> None:
    """Send what the programs had left, and compare."""
    began = time.monotonic()
    with HuggingPlace(key.text, key.organization, base_url=system.url, spool_dir=str(folder / "spool")) as last:
        while (found := await stored(system, key)).total() < len(logged):
            assert time.monotonic() - began < SETTLED_SECONDS, f"{found.total()} of {len(logged)} are stored"
            await asyncio.sleep(1.0)
        assert last.flush(60)
    found = await stored(system, key)
    lost, twice = logged.keys() - found.keys(), [id for id, times in found.items() if times > 1]
    # A program may be killed between the log and its print.
    unprinted = len(found.keys() - logged.keys())
    print(f"{len(logged)} logged, {len(found)} stored ({unprinted} of them killed before their print)")
    print(f"lost {len(lost)}, twice {len(twice)}; all were there {time.monotonic() - began:.1f} s after the last kill")
    assert not lost, sorted(lost)[:5]
    assert not twice, twice[:5]
    await _balanced(system, key, len(found))


async def _balanced(system: Sonant, key: Key, items: int) -> None:
    async with client(system.url, key.headers) as http:

        async def told() -> list[dict[str, Any]]:
            answer = await http.get("/v2/ledger")
            body = answer.json() if answer.status_code == 200 else {}
            hours: list[dict[str, Any]] = body.get("data", [])
            return hours if body.get("balanced") and sum(hour["stored"] for hour in hours) == items else []

        hours = await eventually(told, timeout=120)
    sums = {name: sum(hour[name] for hour in hours) for name in ("accepted", "stored", "repeated", "parked", "missing")}
    print(f"ledger balanced: {sums}")


async def _broker(stack: ExitStack, data: Path) -> kafka.Broker:
    """A broker that may be killed."""
    data.mkdir()
    broker = kafka.Broker(data)
    stack.callback(broker.stop)
    broker.start()
    await broker.ready()
    return broker


async def run(events: int, rounds: int, log: str) -> None:
    """Drive it once, on one log."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-chaos-")))
        broker = await _broker(stack, folder / "kafka") if log == "kafka" else None
        env = {**SETTINGS, **({"SONANT_LOG_URL": broker.url} if broker else {})}
        system = stack.enter_context(sonant_system(env=env))
        key = ingest_key(system)
        programs = stack.enter_context(programs_of(system, key, folder))

        async def kill_program() -> None:
            programs.kill_one()

        async def kill_log() -> None:
            if broker is None:
                await kill_part(system, "valkey")
                return
            broker.kill()
            broker.start()
            await broker.ready()

        kills: dict[str, Callable[[], Awaitable[Any]]] = {
            "the application": kill_program,
            "gateway": lambda: kill_part(system, "gateway"),
            "telemetry": lambda: kill_part(system, "telemetry"),
            "postgres": lambda: kill_part(system, "postgres"),
            "the log": kill_log,
        }
        began = time.monotonic()
        await flood(programs, events, kills, rounds)
        programs.end()
        print(f"{programs.count()} logged by {PROGRAMS} programs in {time.monotonic() - began:.0f} s on {log}")
        await check(system, key, programs.logged(), folder)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1, help="kills of each part")
    parser.add_argument("--log", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    if options.log == "kafka" and (reason := kafka.unavailable()):
        sys.exit(f"no broker: {reason}")
    asyncio.run(run(options.events, options.rounds, options.log))


if __name__ == "__main__":
    main()

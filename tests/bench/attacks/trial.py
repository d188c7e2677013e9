"""One trial: a system of its own, the quiet tenant at rest, then the attack with the quiet tenant beside it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.bench.attacks import cage
from tests.bench.attacks.attack import Attack
from tests.bench.attacks.books import missing_facts
from tests.bench.attacks.ground import UNLIMITED, Ground, bearer
from tests.bench.attacks.hostile_upstream import ANSWERS
from tests.bench.attacks.quiet_tenant import LaneReport
from tests.bench.attacks.watch import Watch
from tests.bench.load import KEY_VARIABLE
from tests.bench.system import (
    ROOT,
    BenchError,
    Target,
    bench_upstream,
    engine_urls,
    kafka_broker,
    listening,
    read_pids,
    scratch_directory,
    sonant_up,
)

# Longer says nothing more about a system at rest.
IDLE_SECONDS = 30.0
# Of attackers and their upstream, who would be on machines of their own.
ATTACKERS_NICENESS = 15
# How long the quiet tenant's last requests may take beyond its time.
PATIENCE = 60.0


@dataclass(frozen=True)
class Row:
    """What one attack did. `idle` and `beside` are the quiet tenant's lanes, `deaths` the processes that died.

    `peaks` are resident bytes. `missing` says how many accepted requests have no fact.
    """

    attack: str
    part: str
    caged: bool
    answers: Mapping[str, int]
    idle: Mapping[str, LaneReport]
    beside: Mapping[str, LaneReport]
    deaths: Mapping[str, int]
    peaks: Mapping[str, int]
    accepted: int
    missing: int
    figures: Mapping[str, float] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """What must not be, in words; a time is never among it."""
        found = [
            f"{lane.failed} of {lane.count} {name} of the quiet tenant failed: {lane.reasons}"
            for name, lane in self.beside.items()
            if lane.failed
        ]
        found += [f"{name} died {times} times" for name, times in self.deaths.items()]
        return found + ([f"{self.missing} of {self.accepted} accepted requests have no fact"] if self.missing else [])


class Tenant(NamedTuple):
    """The key of the quiet tenant, and its lanes while nobody attacked."""

    key: str
    idle: Mapping[str, LaneReport]


def try_out(attack: Attack, seconds: float, log: str) -> Row:
    """Start a system on this log (`embedded` or `kafka`), attack it for so many seconds, and end it.

    Raises:
        BenchError: it could not be started, or not be brought into place for the attack.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(scratch_directory())
        broker = stack.enter_context(kafka_broker(directory / "kafka")) if log == "kafka" else None
        good = stack.enter_context(bench_upstream())
        hostile = stack.enter_context(listening("attacks.hostile_upstream"))
        models = _models_file(directory / "models.toml", good.url, hostile.url)
        settings = {name: value.replace("UPSTREAM", hostile.url) for name, value in attack.settings.items()}
        data_dir = directory / "data"
        sonant = stack.enter_context(sonant_up(data_dir, models, broker.url if broker else None, settings))
        watch = stack.enter_context(_watching(attack, data_dir, broker.pids if broker else {}))
        tenant = asyncio.run(_at_rest(sonant.target, min(seconds, IDLE_SECONDS)))
        with _giving_way([os.getpid(), *hostile.pids().values()]):
            return asyncio.run(_attacked(attack, sonant.target, data_dir, watch, seconds, tenant=tenant))


def _models_file(path: Path, good: str, hostile: str) -> Path:
    """The alias `default` on a model server that means well, and one alias for each evil of the other."""
    aliases = {"default": (good, "bench"), **{name: (hostile, name) for name in ANSWERS}}
    path.write_text("".join(_alias(alias, url, model) for alias, (url, model) in aliases.items()))
    return path


def _alias(alias: str, url: str, model: str) -> str:
    """An evil one has two upstreams: where one can stand in for another, text is held back to its sentence's end."""
    upstreams = (
        f'[[aliases.{alias}.upstreams]]\nname = "{alias}-{name}"\nbase_url = "{url}/v1"\nmodel = "{model}"\n'
        for name in (("only",) if alias == "default" else ("first", "second"))
    )
    return f"[aliases.{alias}]\n{''.join(upstreams)}"


@contextmanager
def _watching(attack: Attack, data_dir: Path, also: Mapping[str, int]) -> Iterator[Watch]:
    """A watch over all processes, each in its cage where the attack wants that and the machine has them."""

    def pids() -> dict[str, int]:
        with suppress(BenchError):
            return {**read_pids(data_dir), **also}
        return dict(also)

    if not attack.caged or cage.unavailable():
        yield Watch(pids, {})
        return
    limits = cage.compose_limits()
    with cage.cages({name: limits[name] for name in pids() if name in limits}) as made:
        yield Watch(pids, made)


@contextmanager
def _giving_way(pids: Sequence[int]) -> Iterator[None]:
    """Have the attackers' own work give way, since they stand elsewhere; only root can take that back."""
    if os.geteuid():
        yield
        return
    for pid in pids:
        os.setpriority(os.PRIO_PROCESS, pid, ATTACKERS_NICENESS)
    try:
        yield
    finally:
        for pid in pids:
            os.setpriority(os.PRIO_PROCESS, pid, 0)


async def _at_rest(target: Target, seconds: float) -> Tenant:
    """The quiet tenant while nobody attacks."""
    async with aiohttp.ClientSession(target.url) as session:
        key = await _quiet_key(session, target.key)
    return Tenant(key, await _quiet_tenant(target.url, key, seconds))


async def _attacked(
    attack: Attack, target: Target, data_dir: Path, watch: Watch, seconds: float, *, tenant: Tenant
) -> Row:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(target.url, connector=connector, timeout=timeout) as session:
        watch.look()
        watching = asyncio.create_task(watch.run())
        ground = Ground(target, session, time.monotonic() + seconds, watch)
        await attack.prepare(ground)
        ground.ends = time.monotonic() + seconds
        running = asyncio.create_task(attack.run(ground))
        beside = await _quiet_tenant(target.url, tenant.key, seconds)
        await running
        # What it held back, such as bodies half sent, is let go of before the books are closed.
        missing = await missing_facts(engine_urls(data_dir)["database"], ground.accepted)
        watching.cancel()
        await asyncio.wait([watching])
        watch.look()
        watch.weigh()
    return Row(
        attack=attack.name,
        part=attack.part,
        caged=attack.caged and not cage.unavailable(),
        answers=dict(ground.answers.most_common()),
        idle=tenant.idle,
        beside=beside,
        deaths=watch.deaths(),
        peaks=watch.peaks,
        accepted=len(ground.accepted),
        missing=len(missing),
        figures=ground.figures,
    )


async def _quiet_key(session: aiohttp.ClientSession, admin: str) -> str:
    body = {"name": "quiet", "organization": "quiet", "scopes": ["chat", "resources"], "limits": UNLIMITED}
    async with session.post("/v1/admin/keys", json=body, headers=bearer(admin)) as answer:
        if answer.status != 201:
            raise BenchError(f"no key for the quiet tenant: {await answer.text()}")
        return str((await answer.json())["key"])


async def _quiet_tenant(url: str, key: str, seconds: float) -> dict[str, LaneReport]:
    """Run it as a process of its own for so long, beside whatever else this one does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.attacks.quiet_tenant", "--url", url, "--seconds", str(seconds)),
        cwd=ROOT,
        env={**os.environ, KEY_VARIABLE: key},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if not os.geteuid():
            os.setpriority(os.PRIO_PROCESS, process.pid, 0)
        async with asyncio.timeout(seconds + PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise BenchError(f"the quiet tenant ended with exit code {process.returncode}")
    return {name: LaneReport(**lane) for name, lane in json.loads(output).items()}

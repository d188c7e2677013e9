"""Trying faults out: what fired, after how long, and how long after the fault was gone it ended."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.alert_faults.fault import CALL_SECONDS, Fault, Phase, Scene
from tests.support.prometheus import firing, prometheus, targets_of
from tests.support.sonant import sonant_system
from tests.support.waiting import eventually
from tests.support.webhook_sink import webhook_sink

LOOK_SECONDS = 2.0
# A process that starts again is without its series for a moment, and its alerts too.
QUIET_SECONDS = 60.0


@dataclass
class Row:
    """A line of the table; what is None did not happen."""

    rule: str
    what: str
    fired: float | None = None
    ended: float | None = None
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether it did what an alert is for, as far as it was looked at."""
        return self.fired is not None and (self.ended is not None or bool(self.note))

    def text(self) -> str:
        """The line."""
        fired = "DID NOT FIRE" if self.fired is None else f"{self.fired:.0f}"
        ended = "" if self.fired is None else "DID NOT END" if self.ended is None else f"{self.ended:.0f}"
        return f"{self.rule:<22} {fired:>12} {self.note or ended:>12}  {self.what}"


@dataclass
class Watch:
    """What fires in one Prometheus."""

    http: aiohttp.ClientSession
    address: str
    now: Sequence[dict[str, Any]] = ()
    ever: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self.now = await firing(self.http, self.address)
            self.ever |= {alert["labels"]["alertname"] for alert in self.now}
            await asyncio.sleep(LOOK_SECONDS)

    def fires(self, rule: str, labels: Mapping[str, str]) -> bool:
        """Whether an alert of this rule with these labels fires."""
        wanted = {"alertname": rule, **labels}.items()
        return any(wanted <= alert["labels"].items() for alert in self.now)

    async def fired(self, rule: str, labels: Mapping[str, str], seconds: float) -> float | None:
        """Seconds until it fires; None where it never does."""
        began = time.monotonic()
        with suppress(AssertionError):
            await eventually(lambda: self.fires(rule, labels), timeout=seconds, interval=LOOK_SECONDS / 2)
            return time.monotonic() - began
        return None

    async def ended(self, rule: str, labels: Mapping[str, str], seconds: float) -> float | None:
        """Seconds until it does not fire, and does not come back at once; None where it never comes to that."""
        last = began = time.monotonic()
        while time.monotonic() < began + seconds + QUIET_SECONDS:
            if self.fires(rule, labels):
                last = time.monotonic()
            elif time.monotonic() > last + QUIET_SECONDS:
                return last - began
            await asyncio.sleep(LOOK_SECONDS / 2)
        return None


@dataclass
class Trial:
    """One fault and its rows."""

    fault: Fault
    scene: Scene
    watch: Watch
    longest_end: float
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {rule: Row(rule, self.fault.what) for rule in self.fault.rules}

    async def provoke(self) -> None:
        """Make the fault, and keep it until its alerts fire."""
        try:
            looking = [asyncio.create_task(self._fires(rule)) for rule in self.rows]
            async with self.fault.provoke(self.scene):
                await asyncio.gather(*looking)
        except Exception as error:  # noqa: BLE001 - one fault that cannot be made hinders no other
            for row in self.rows.values():
                row.what = f"{row.what}: {type(error).__name__} {error}"[:300]

    async def end(self) -> list[Row]:
        """Wait until the alerts have ended, and print what there is to say."""
        await asyncio.gather(*map(self._ends, self.rows))
        for row in self.rows.values():
            print(row.text(), flush=True)
        return list(self.rows.values())

    async def _fires(self, rule: str) -> None:
        fault = self.fault
        self.rows[rule].fired = await self.watch.fired(rule, fault.rules[rule], fault.fire_seconds)

    async def _ends(self, rule: str) -> None:
        fault, row = self.fault, self.rows[rule]
        if fault.end_seconds > self.longest_end:
            row.note = "(not awaited)"
        elif row.fired is not None:
            row.ended = await self.watch.ended(rule, fault.rules[rule], fault.end_seconds)


async def played(phase: Phase, longest_end: float) -> list[Row]:
    """All faults of a phase, on a system of its own; ends that may be further away, in seconds, are not waited for."""
    with sonant_system(env=phase.env, models_text=phase.models) as system, prometheus(targets_of(system)) as address:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with webhook_sink() as sink, aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            watch, scene = Watch(http, address), Scene(system, http, address, sink)
            watching = asyncio.create_task(watch.run())
            # Every service is seen before anything is done to it.
            await eventually(lambda: _all_up(scene), timeout=CALL_SECONDS * 2, interval=LOOK_SECONDS)
            lanes = await asyncio.gather(*(_lane(lane, scene, watch, longest_end) for lane in phase.lanes))
            watching.cancel()
    rows = [row for lane in lanes for row in lane]
    others = watch.ever - {row.rule for row in rows}
    print(f"phase {phase.name} is over; beside its own rules fired: {', '.join(sorted(others)) or 'none'}", flush=True)
    return rows


async def _all_up(scene: Scene) -> bool:
    with suppress(aiohttp.ClientError):
        return await scene.value("sum(up)") == len(targets_of(scene.system))
    return False


async def _lane(lane: Sequence[Fault], scene: Scene, watch: Watch, longest_end: float) -> list[Row]:
    endings = []
    for fault in lane:
        trial = Trial(fault, scene, watch, longest_end)
        await trial.provoke()
        endings.append(asyncio.create_task(trial.end()))
        if not fault.windowed:
            await endings[-1]
    return [row for rows in await asyncio.gather(*endings) for row in rows]

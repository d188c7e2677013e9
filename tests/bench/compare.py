"""Ours beside a direct call: what is run in turn, and the figures that come of it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from tests.bench.interrupt import StopBench, StopReport
from tests.bench.measure import Cores, Usage
from tests.bench.resources import ResourcesReport
from tests.bench.stages import completed_since, stages_of
from tests.bench.system import Sample, Target, drive

NAN = float("nan")
# A broker that has just started interprets its code; one that serves has long compiled it. At one stream a second
# that would take minutes, and the single stream is measured first.
WARM_STREAMS = 50
WARM_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Row:
    """One stream count on one log: medians over the rounds. Times in ms, CPU in seconds per 1,000 streams."""

    streams: int
    direct_first_p50: float
    direct_first_p99: float
    first_p50: float
    first_p99: float
    direct_rate: float
    rate: float
    cpu: dict[str, float]
    direct_cpu: dict[str, float]
    cores: Cores
    direct_cores: Cores
    resident: dict[str, int]
    failed: int
    # p50 and p99 in ms of ours, by the moment the stage ends with; empty where the log is not ours to read.
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def added_p50(self) -> float:
        """What we add to the first chunk, ms."""
        return self.first_p50 - self.direct_first_p50


@dataclass
class Outcome:
    """All figures of one log."""

    log: str
    start_seconds: float
    at_rest: dict[str, Usage]
    rows: list[Row] = field(default_factory=list)
    stops: list[StopReport] = field(default_factory=list)
    resources: ResourcesReport | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Streams that were not whole or not stopped, and what failed with resources."""
        streams = sum(row.failed for row in self.rows) + sum(stop.failed for stop in self.stops)
        return streams + (self.resources.failed if self.resources else 0)

    def add_reasons(self, reasons: Mapping[str, int]) -> None:
        """Count why streams failed."""
        for reason, count in reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


@dataclass(frozen=True)
class Plan:
    """What to measure, from the command line. Seconds are per side and stream count, shared out over the rounds."""

    streams: Sequence[int]
    seconds: float
    warmup: float
    rounds: int
    stops: int

    def run(
        self, outcome: Outcome, ours: Target, direct: Target, broker: Mapping[str, int], data_dir: Path | None
    ) -> None:
        """Measure one running system, with the broker's process where there is one; says where it is."""
        log = outcome.log
        print(f"{log}: warming up ...", flush=True)
        drive(ours, WARM_STREAMS, WARM_SECONDS, self.warmup, {})
        for streams in self.streams:
            print(f"{log}: {streams} streams ...", flush=True)
            began = time.time()
            row = self._compare(outcome, streams, ours, direct, broker)
            if data_dir is not None:
                row = replace(row, stages=stages_of(completed_since(data_dir, began)))
            outcome.rows.append(row)
        if self.stops:
            print(f"{log}: {self.stops} stops of each kind ...", flush=True)
            outcome.stops = uvloop.run(measure_stops(ours, direct, self.stops))
        for stop in outcome.stops:
            outcome.add_reasons(stop.reasons)

    def _compare(self, outcome: Outcome, streams: int, ours: Target, direct: Target, broker: Mapping[str, int]) -> Row:
        """Direct and ours in turn, so that both see the same machine."""
        seconds, with_upstream = self.seconds / self.rounds, {**broker, **direct.pids()}
        calls, relays = [], []
        for _ in range(self.rounds):
            calls.append(drive(direct, streams, seconds, self.warmup, {}))
            relays.append(drive(ours, streams, seconds, self.warmup, with_upstream))
        for sample in [*calls, *relays]:
            outcome.add_reasons(sample.load.reasons)
        return make_row(streams, calls, relays)


def make_row(streams: int, direct: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    """Medians over the rounds; CPU over all of them; failures of both sides."""
    return Row(
        streams=streams,
        direct_first_p50=_median(direct, lambda sample: sample.load.first_p50),
        direct_first_p99=_median(direct, lambda sample: sample.load.first_p99),
        first_p50=_median(ours, lambda sample: sample.load.first_p50),
        first_p99=_median(ours, lambda sample: sample.load.first_p99),
        direct_rate=_median(direct, lambda sample: sample.load.rate),
        rate=_median(ours, lambda sample: sample.load.rate),
        cpu=cpu_per_thousand(ours),
        direct_cpu=cpu_per_thousand(direct),
        cores=_cores(ours),
        direct_cores=_cores(direct),
        resident={name: usage.resident for name, usage in ours[-1].usage.items()},
        failed=sum(sample.load.failed for sample in [*direct, *ours]),
    )


def _median(samples: Sequence[Sample], read: Callable[[Sample], float]) -> float:
    return statistics.median(read(sample) for sample in samples)


def _cores(samples: Sequence[Sample]) -> Cores:
    return sum((sample.cores for sample in samples), Cores(0.0, 0.0, 0.0))


def cpu_per_thousand(samples: Sequence[Sample]) -> dict[str, float]:
    """CPU seconds per 1,000 streams of each process, over all rounds."""
    completed = sum(sample.load.completed for sample in samples)
    used = {name: sum(sample.cpu.get(name, 0.0) for sample in samples) for name in samples[-1].cpu}
    return {name: seconds / completed * 1000 if completed else NAN for name, seconds in used.items()}


async def measure_stops(ours: Target, direct: Target, repetitions: int) -> list[StopReport]:
    """Interruption and hang-up through us, and a hang-up on the upstream itself as the floor."""
    return [
        await StopBench(ours, direct.url).interruptions(repetitions),
        await StopBench(ours, direct.url).disconnects("client hangs up", repetitions),
        await StopBench(direct, direct.url).disconnects("direct hang-up", repetitions),
    ]

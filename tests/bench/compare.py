"""Ours beside a direct call and a bare relay: what is run in turn, and the figures that come of it."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from tests.bench.interrupt import StopBench, StopReport
from tests.bench.measure import NO_CORES, Cores, Usage
from tests.bench.media import MediaReport
from tests.bench.resources import ResourcesReport
from tests.bench.stages import completed_since, stages_of
from tests.bench.system import Sample, Target, drive

NAN = float("nan")
# A broker that has just started interprets its code; one that serves has long compiled it. At one stream a second
# that would take minutes, and the single stream is measured first.
WARM_STREAMS = 50
WARM_SECONDS = 8.0


# The processes whose CPU is set against each other: gateway, llm-stream and live store of ours, and the bare relay.
BUDGETED = ("gateway", "llm-stream", "valkey", "relay")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a load: medians over the rounds in ms and streams/s, CPU in seconds per 1,000 streams."""

    first_p50: float
    first_p99: float
    rate: float
    cpu: dict[str, float]
    cores: Cores
    failed: int

    @property
    def budgeted_cpu(self) -> float:
        """CPU of the processes that are compared; NaN where none was seen."""
        return sum(self.cpu[name] for name in BUDGETED if name in self.cpu) or NAN


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ours as multiples of the bare relay of the same run; NaN where one of the two has no figure."""

    cpu: float
    rate: float
    first_p50: float


@dataclass(frozen=True, slots=True)
class Row:
    """One stream count on one log: the direct call, the bare relay and ours."""

    streams: int
    direct: Side
    relay: Side
    ours: Side
    resident: dict[str, int]
    # p50 and p99 in ms of ours, by the moment the stage ends with; empty where the log is not ours to read.
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def sides(self) -> dict[str, Side]:
        """What was measured, by name."""
        return {"direct": self.direct, "relay": self.relay, "ours": self.ours}

    @property
    def ratios(self) -> Ratios:
        """What outlives a change of machine."""
        ours, relay = self.ours, self.relay
        return Ratios(
            cpu=_times(ours.budgeted_cpu, relay.budgeted_cpu),
            rate=_times(ours.rate, relay.rate),
            first_p50=_times(ours.first_p50, relay.first_p50),
        )

    @property
    def cores(self) -> Cores:
        """All cores in the windows of all sides: a ratio is no better than the worse of its two figures."""
        return sum((side.cores for side in self.sides.values()), NO_CORES)

    def added_p50(self, side: Side) -> float:
        """What a side adds to the first chunk of the direct call, ms."""
        return side.first_p50 - self.direct.first_p50


def _times(value: float, unit: float) -> float:
    return value / unit if unit else NAN


@dataclass(frozen=True)
class References:
    """What ours is measured in turn with."""

    direct: Target
    relay: Target


@dataclass
class Outcome:
    """All figures of one log."""

    log: str
    start_seconds: float
    at_rest: dict[str, Usage]
    rows: list[Row] = field(default_factory=list)
    stops: list[StopReport] = field(default_factory=list)
    resources: ResourcesReport | None = None
    media: MediaReport | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Streams that were not whole or not stopped, and what failed with resources and jobs."""
        streams = sum(side.failed for row in self.rows for side in row.sides.values()) + sum(
            stop.failed for stop in self.stops
        )
        return streams + sum(part.failed for part in (self.resources, self.media) if part)

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
        self, outcome: Outcome, ours: Target, others: References, broker: Mapping[str, int], data_dir: Path | None
    ) -> None:
        """Measure one running system, with the broker's process where there is one; says where it is."""
        log = outcome.log
        print(f"{log}: warming up ...", flush=True)
        drive(ours, WARM_STREAMS, WARM_SECONDS, self.warmup, {})
        for streams in self.streams:
            print(f"{log}: {streams} streams ...", flush=True)
            began = time.time()
            row = self._compare(outcome, streams, ours, others, broker)
            if data_dir is not None:
                row = replace(row, stages=stages_of(completed_since(data_dir, began)))
            outcome.rows.append(row)
        if self.stops:
            print(f"{log}: {self.stops} stops of each kind ...", flush=True)
            outcome.stops = uvloop.run(measure_stops(ours, others.direct, self.stops))
        for stop in outcome.stops:
            outcome.add_reasons(stop.reasons)

    def _compare(
        self, outcome: Outcome, streams: int, ours: Target, others: References, broker: Mapping[str, int]
    ) -> Row:
        """All sides in turn, so that they see the same machine."""
        seconds, upstream = self.seconds / self.rounds, others.direct.pids()
        calls, relays, answers = list[Sample](), list[Sample](), list[Sample]()
        for _ in range(self.rounds):
            calls.append(drive(others.direct, streams, seconds, self.warmup, {}))
            relays.append(drive(others.relay, streams, seconds, self.warmup, upstream))
            answers.append(drive(ours, streams, seconds, self.warmup, {**broker, **upstream}))
        for sample in [*calls, *relays, *answers]:
            outcome.add_reasons(sample.load.reasons)
        resident = {name: usage.resident for name, usage in answers[-1].usage.items()}
        return Row(streams, side_of(calls), side_of(relays), side_of(answers), resident)


def side_of(samples: Sequence[Sample]) -> Side:
    """Medians over the rounds; CPU, cores and failures over all of them."""
    return Side(
        first_p50=_median(samples, lambda sample: sample.load.first_p50),
        first_p99=_median(samples, lambda sample: sample.load.first_p99),
        rate=_median(samples, lambda sample: sample.load.rate),
        cpu=cpu_per_thousand(samples),
        cores=sum((sample.cores for sample in samples), NO_CORES),
        failed=sum(sample.load.failed for sample in samples),
    )


def _median(samples: Sequence[Sample], read: Callable[[Sample], float]) -> float:
    return statistics.median(read(sample) for sample in samples)


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

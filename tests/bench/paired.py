"""Two checkouts that run side by side and are loaded in turn, over several starts of both: what a change costs.

A process keeps a bias of some percent from one start to the next, and a machine drifts within minutes. Here both
systems meet the same minutes, and each start of both gives one pair of figures.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import uvloop

from tests.bench.alternate import Figures, change_table, changes
from tests.bench.compare import BUDGETED
from tests.bench.site import ACTIVE, USER, prepare
from tests.bench.system import (
    BenchError,
    Checkout,
    Sample,
    Target,
    bare_relay,
    bench_upstream,
    drive,
    generate,
    scratch_directory,
    sonant_up,
    write_models_file,
)

STARTS_TRIED = 3

Pair: TypeAlias = dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Windows:
    """How much to measure: concurrent streams, concurrent readers, seconds of a window, windows per start."""

    streams: tuple[int, ...]
    readers: tuple[int, ...]
    seconds: float
    each: int


@dataclass(frozen=True, slots=True)
class Side:
    """A running system of a checkout, and the same with the key of a project that has an active set."""

    chat: Target
    reads: Target


def path_seconds(sample: Sample) -> float:
    """CPU seconds per 1,000 of what stands between client and upstream; raises BenchError where nothing came."""
    if not (used := sample.cpu_per_thousand()):
        raise BenchError(f"nothing was completed: {sample.load.reasons}")
    return sum(seconds for name, seconds in used.items() if name in BUDGETED)


def chat_figures(side: Side, relay: Target, streams: int, seconds: float) -> Iterator[tuple[str, float]]:
    """One window of streams."""
    sample, name = drive(side.chat, streams, seconds, 0.5, {}), f"{streams} streams"
    yield f"{name}: CPU s per 1,000", path_seconds(sample)
    yield f"{name}: CPU, multiple of the relay's", path_seconds(sample) / relay_seconds(relay, streams, seconds)
    yield f"{name}: first chunk p50 ms", sample.load.first_p50
    yield f"{name}: streams/s", sample.load.rate


def relay_seconds(relay: Target, streams: int, seconds: float) -> float:
    """CPU seconds of the bare relay per 1,000 streams, in a window of its own."""
    return drive(relay, streams, seconds / 2, 0.5, {}).cpu_per_thousand()["relay"]


def read_figures(side: Side, readers: int, seconds: float) -> Iterator[tuple[str, float]]:
    """One window of cached reads."""
    load = ["tests.bench.reads", "--path", ACTIVE, "--user", USER, "--readers", str(readers)]
    sample = generate(side.reads, load, seconds, 0.5, {})
    yield f"{readers} readers: GET {ACTIVE}/s", sample.load.rate
    yield f"{readers} readers: CPU s per 1,000", path_seconds(sample)


def measure_start(roots: Mapping[str, Checkout], windows: Windows, upstream: Target, relay: Target) -> Pair:
    """Start both, load them in turn, end both: the medians of the windows of each."""
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_directory())
        models_file = write_models_file(scratch / "models.toml", upstream.url)
        sides = dict[str, Side]()
        for name, checkout in roots.items():
            data_dir = scratch / name
            up = stack.enter_context(sonant_up(data_dir, models_file, None, checkout=checkout))
            site = uvloop.run(prepare(up.target, data_dir))
            sides[name] = Side(up.target, Target(up.target.url, site.key, up.target.model, up.target.pids))
        return in_turn(sides, windows, relay)


def in_turn(sides: Mapping[str, Side], windows: Windows, relay: Target) -> Pair:
    """Load the sides alternately, each first as often as the other."""
    seen = {name: defaultdict[str, list[float]](list) for name in sides}
    order = list(sides)
    for _ in range(windows.each):
        for streams in windows.streams:
            for name in order:
                collect(seen[name], chat_figures(sides[name], relay, streams, windows.seconds))
        for readers in windows.readers:
            for name in order:
                collect(seen[name], read_figures(sides[name], readers, windows.seconds))
        order.reverse()
    return {name: {what: statistics.median(values) for what, values in found.items()} for name, found in seen.items()}


def collect(seen: dict[str, list[float]], found: Iterator[tuple[str, float]]) -> None:
    """Keep each figure beside those of the same name."""
    for what, value in found:
        seen[what].append(value)


def paired(roots: Mapping[str, Checkout], starts: int, windows: Windows) -> Iterator[Pair]:
    """The figures of each start; raises BenchError where one failed `STARTS_TRIED` times in a row."""
    with bench_upstream() as upstream, bare_relay(upstream) as relay:
        for start in range(1, starts + 1):
            pair = measured_at_last(partial(measure_start, roots, windows, upstream, relay), f"start {start}")
            print(f"start {start}: {summary(pair)}", flush=True)
            yield pair


def measured_at_last(measure: Callable[[], Pair], what: str) -> Pair:
    """What `measure` finds, tried again where it failed; what failed is told."""
    for _ in range(STARTS_TRIED - 1):
        try:
            return measure()
        except BenchError as error:
            print(f"{what} is made again: {error}", file=sys.stderr, flush=True)
    return measure()


def summary(figures: Pair) -> str:
    """The CPU of both, for who waits."""
    names = [name for name in figures["before"] if name.endswith("CPU s per 1,000")]
    return ", ".join(f"{name} {figures['before'][name]:.3f} to {figures['after'][name]:.3f}" for name in names)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas; none of an empty text."""
    return tuple(int(part) for part in text.split(",") if part)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.paired", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout with a .venv of its own")
    parser.add_argument("--after", type=Path, required=True, help="another one")
    parser.add_argument("--starts", type=int, default=5, help="how often both are started")
    parser.add_argument("--windows", type=int, default=2, help="windows of each load and side per start")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a window")
    parser.add_argument("--streams", type=numbers, default=(50, 200), help="concurrent streams, comma-separated")
    parser.add_argument("--readers", type=numbers, default=(1, 50), help="concurrent readers, comma-separated")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure and print the table; 1 where a system did not start or completed nothing."""
    options = parse_options()
    windows = Windows(options.streams, options.readers, options.seconds, options.windows)
    try:
        roots = {"before": Checkout.at(options.before), "after": Checkout.at(options.after)}
        found = list(paired(roots, options.starts, windows))
    except BenchError as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1
    print(f"\n{change_table(changes([one['before'] for one in found], [one['after'] for one in found]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Two checkouts measured in turn: the medians of both, and what changed, in figures that outlive the machine.

The load, the upstream and the bare relay are those of the checkout this file lives in; only the system is started
from the others. So an older checkout is measured by the same rule as a newer one.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tests.bench.system import ROOT, BenchError, Checkout
from tests.bench.tables import number, table

# Stops are judged by a bound of their own; what is given on the command line comes after it and counts.
BENCH = ("-m", "tests.bench", "--stops", "0")
# Of the output of a run that failed: the tables come last, and the reason after them.
TAIL = 3000

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both checkouts: medians over the rounds, and the change in percent, of them and in each round."""

    before: float
    after: float
    each: list[float]

    @property
    def percent(self) -> float:
        """The change of the medians."""
        return percent(self.before, self.after)


def percent(before: float, after: float) -> float:
    """By how much `after` differs; NaN where there is nothing to compare with."""
    return (after / before - 1) * 100 if before else math.nan


def change_of(before: Sequence[float], after: Sequence[float]) -> Change:
    """The change between two series, of which those at the same place were measured one after the other."""
    each = [percent(*pair) for pair in zip(before, after, strict=True)]
    return Change(statistics.median(before), statistics.median(after), each)


def figures_of(log: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """The figures of one log in the order of the table; None where a run has none."""
    for row in log["rows"]:
        load = f"{log['log']}, {row['streams']} streams"
        yield f"{load}: CPU, multiple of the relay's", row["ratios"]["cpu"]
        yield f"{load}: first chunk p50 ms", row["ours"]["first_p50"]
        yield f"{load}: streams/s", row["ours"]["rate"]
    for read in (log["resources"] or {"reads": ()})["reads"]:
        yield f"{log['log']}, {read['readers']} readers: {read['what']}, reads/s", read["rate"]


def read_figures(path: Path) -> tuple[Figures, list[float]]:
    """The figures of a run, and what of the cores it had not in each of its loads (0..1): for the host and others."""
    logs: list[dict[str, Any]] = json.loads(path.read_text())["logs"]
    found = chain.from_iterable(map(figures_of, logs))
    lost = [(row["stolen"] or 0.0) + (row["others"] or 0.0) for log in logs for row in log["rows"]]
    return {what: math.nan if value is None else value for what, value in found}, lost


def measure(root: Path, options: Sequence[str]) -> tuple[Figures, list[float]]:
    """One run of the bench on a checkout; raises BenchError where it failed, with the end of what it said."""
    with tempfile.TemporaryDirectory(prefix="sonant-alternate-") as scratch:
        path = Path(scratch) / "bench.json"
        command = [sys.executable, *BENCH, *options, "--root", str(root), "--json", str(path)]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode:
            raise BenchError(f"the bench of {root} failed:\n{ended.stdout[-TAIL:]}")
        return read_figures(path)


def alternate(roots: Mapping[str, Path], rounds: int, options: Sequence[str]) -> Iterator[dict[str, Figures]]:
    """The figures of each checkout by its name, round by round; a round in which a run failed is told and left out."""
    for turn in range(1, rounds + 1):
        try:
            yield {name: tell(f"round {turn}, {name}", root, options) for name, root in roots.items()}
        except BenchError as error:
            print(f"round {turn} is left out: {error}", file=sys.stderr, flush=True)


def tell(what: str, root: Path, options: Sequence[str]) -> Figures:
    """Measure a checkout; says how long it took and what of the cores it had not."""
    began = time.monotonic()
    figures, lost = measure(root, options)
    most = number(max(lost, default=math.nan) * 100)
    print(f"{what}: {time.monotonic() - began:.0f} s, host and others took up to {most} % of the cores", flush=True)
    return figures


def changes(before: Sequence[Figures], after: Sequence[Figures]) -> dict[str, Change]:
    """The change of each figure that all runs have."""
    runs = [*before, *after]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: change_of([run[name] for run in before], [run[name] for run in after]) for name in names}


def signed(value: float) -> str:
    """A difference for a table; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:+.1f}"


def change_table(found: Mapping[str, Change]) -> str:
    """Medians of both, the change between them, and the least and the greatest change of a round."""

    def line(what: str, change: Change) -> list[str]:
        spread = f"{signed(min(change.each))} to {signed(max(change.each))}"
        return [what, number(change.before, 2), number(change.after, 2), signed(change.percent), spread]

    head = ["medians", "before", "after", "change %", "each round"]
    return table(head, (line(what, change) for what, change in found.items()))


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and what of it is for the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.alternate",
        description=__doc__,
        epilog="All other options are those of `python -m tests.bench`.",
        # An option of the bench must not be taken for the beginning of one of these.
        allow_abbrev=False,
    )
    parser.add_argument("--before", type=Path, required=True, help="a checkout with a .venv of its own")
    parser.add_argument("--after", type=Path, required=True, help="another one")
    parser.add_argument("--rounds", type=int, default=3, help="turns of before, after")
    return parser.parse_known_args()


def main() -> int:
    """Measure both in turn and print the table; 1 where a run failed."""
    options, rest = parse_options()
    try:
        roots = {"before": Checkout.at(options.before).root, "after": Checkout.at(options.after).root}
    except BenchError as error:
        print(f"nothing to compare: {error}", file=sys.stderr)
        return 1
    whole = list(alternate(roots, options.rounds, rest))
    if whole:
        found = changes([figures["before"] for figures in whole], [figures["after"] for figures in whole])
        print(f"\n{len(whole)} of {options.rounds} rounds\n\n{change_table(found)}")
    return int(len(whole) < options.rounds)


if __name__ == "__main__":
    sys.exit(main())

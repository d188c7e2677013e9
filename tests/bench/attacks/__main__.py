"""`python -m tests.bench.attacks`: attack a system in every way there is, each with a quiet tenant beside it.

The exit code is 1 where a request of the quiet tenant failed, a process died, or an accepted request has no fact. It is
never 1 because of a time: those are printed as ratios to the same system at rest.
"""

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.attacks import byte_attacks, cage, loop_attacks, share_attacks, socket_attacks
from tests.bench.attacks.attack import Attack
from tests.bench.attacks.trial import Row, try_out
from tests.bench.measure import MEBIBYTE
from tests.bench.system import BenchError, kafka_unavailable

ATTACKS: Sequence[Attack] = (
    loop_attacks.SchemasThatHalt(),
    byte_attacks.GzippedChats(),
    byte_attacks.UnreadAnswers(),
    byte_attacks.BacklogAtRestart(),
    byte_attacks.EndlessTrailers(),
    byte_attacks.IdempotentAnswers(),
    byte_attacks.LogOverTime(),
    loop_attacks.LongDiffs(),
    loop_attacks.TypeLists(),
    loop_attacks.ExclamationChunks(),
    loop_attacks.ManyContainers(),
    share_attacks.SlowStreams(),
    share_attacks.ToolDrafts(),
    share_attacks.TokenSpending(),
    socket_attacks.SilentConnections(),
    socket_attacks.ReadersThatDoNotRead(),
)
COLUMNS = "| attack | its answers | failed | chats p99 (ratio) | reads p99 (ratio) | died | peak MiB | facts | also |"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown. Times are milliseconds beside the attack, ratios those to the same system at rest."""
    return "\n".join([COLUMNS, "|" + "---|" * COLUMNS.count(" | ") + "---|", *map(_line, rows)])


def _line(row: Row) -> str:
    cells = (
        f"{row.part}: {row.attack}{' (caged)' if row.caged else ''}",
        ", ".join(f"{answer}: {count}" for answer, count in row.answers.items()) or "none",
        f"{sum(lane.failed for lane in row.beside.values())} of {sum(lane.count for lane in row.beside.values())}",
        _ratio(row, "chats"),
        _ratio(row, "reads"),
        ", ".join(f"{name} {times}" for name, times in row.deaths.items()) or "none",
        ", ".join(f"{name} {peak // MEBIBYTE}" for name, peak in sorted(row.peaks.items()) if name != "supervisor"),
        f"{row.accepted - row.missing} of {row.accepted}",
        ", ".join(f"{name} {value:.1f}" for name, value in row.figures.items()),
    )
    return "| " + " | ".join(cells) + " |"


def _ratio(row: Row, lane: str) -> str:
    idle, beside = row.idle[lane].p99, row.beside[lane].p99
    return f"{beside:.0f} ({beside / idle:.1f})"


def chosen(only: str | None, log: str) -> list[Attack]:
    """The attacks to run: those whose part or name is in the comma list `only`, that this log can have.

    Raises:
        BenchError: a name is nobody's.
    """
    wanted = [part.strip().lower() for part in only.split(",")] if only else []
    known = {attack.name for attack in ATTACKS} | {attack.part.lower() for attack in ATTACKS}
    if unknown := set(wanted) - known:
        raise BenchError(f"no attack is called {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return [
        attack
        for attack in ATTACKS
        if (not wanted or attack.name in wanted or attack.part.lower() in wanted)
        and not (attack.embedded_only and log != "embedded")
    ]


def run(attacks: Sequence[Attack], seconds: float, log: str) -> tuple[list[Row], list[str]]:
    """Every attack, one after the other: the rows, and what must not be."""
    rows, failures = [], []
    for attack in attacks:
        print(f"{attack.part}: {attack.name} ...", file=sys.stderr, flush=True)
        try:
            row = try_out(attack, seconds, log)
        except BenchError as error:
            failures.append(f"{attack.name}: {error}")
            continue
        rows.append(row)
        failures += [f"{attack.name}: {failure}" for failure in row.failures()]
    return rows, failures


def main() -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attacks", description=__doc__)
    parser.add_argument("--only", help="comma list of attacks or parts, such as `C` or `gzipped chats`")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long each attack lasts")
    parser.add_argument("--log", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.log == "kafka" and (why := kafka_unavailable()):
        sys.exit(f"there is no Kafka to attack: {why}")
    try:
        attacks = chosen(options.only, options.log)
    except BenchError as error:
        sys.exit(str(error))
    if any(attack.caged for attack in attacks) and (why := cage.unavailable()):
        print(f"Memory is not caged here: {why}.", file=sys.stderr)
    rows, failures = run(attacks, options.seconds, options.log)
    print(table(rows))
    for failure in failures:
        print(f"- {failure}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

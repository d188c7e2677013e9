"""`python -m tests.bench.alert_faults`: the real fault of every shipped alert, with a real Prometheus beside.

Each phase has a system of its own and a Prometheus on the shipped rules, unchanged. A fault is made, its alerts are
waited for, the fault is taken away, and its alerts have to end. It needs Prometheus on the path (Debian: apt install
prometheus). The exit code is 1 where an alert did not fire or did not end.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import yaml

from tests.bench.alert_faults import chat_faults, engine_faults, process_faults, provider_faults, record_faults
from tests.bench.alert_faults.fault import Phase
from tests.bench.alert_faults.trial import Row, played
from tests.support.sonant import ROOT


def phases() -> dict[str, Phase]:
    """All of them, by name."""
    found = [
        Phase(
            "requests",
            [
                [chat_faults.UPSTREAM_FAILS],
                [chat_faults.UPSTREAM_IS_SLOW],
                [chat_faults.MODERATOR_AWAY],
                [record_faults.UNREADABLE],
                [record_faults.UNMASKABLE],
                [record_faults.TURNS_REFUSED],
                [record_faults.UNFORESEEN],
                [record_faults.MISSING],
                [record_faults.RENAMED],
                [provider_faults.REFUSED_VIDEOS],
                [provider_faults.NO_FOLDER],
                [provider_faults.POISONED_DRAFTS],
                [provider_faults.RECEIVER_DOWN],
            ],
            provider_faults.SETTINGS,
            chat_faults.MODELS,
        ),
        Phase("engines", [[engine_faults.DATABASE_HANGS, engine_faults.STORE_HANGS, engine_faults.NO_RIGHTS]]),
        Phase("log", [[engine_faults.LOG_FULL, engine_faults.GROUP_FORSAKEN]], engine_faults.SMALL_LOG),
        Phase(
            "processes",
            [
                process_faults.media_lane(),
                [process_faults.SLOW_CACHE, process_faults.RESOURCES_HANGS],
                [process_faults.BUSY_PROCESS],
                [process_faults.SLOW_TELEMETRY],
            ],
            process_faults.SETTINGS,
        ),
    ]
    return {phase.name: phase for phase in found}


def with_rules(phase: Phase, rules: Sequence[str]) -> Phase:
    """The phase with the faults of these rules alone."""
    lanes = [[fault for fault in lane if set(rules) & set(fault.rules)] for lane in phase.lanes]
    return replace(phase, lanes=[lane for lane in lanes if lane])


def shipped() -> list[str]:
    """The names of all rules."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy" / "alerts").glob("*.yml"))]
    return [rule["alert"] for file in files for group in file["groups"] for rule in group["rules"]]


def report(rows: Sequence[Row], seconds: float) -> None:
    """Print the table, and the rules that nobody asked for."""
    print(f"\n{'rule':<22} {'s to firing':>12} {'s to end':>12}  fault")
    for row in sorted(rows, key=lambda row: shipped().index(row.rule)):
        print(row.text())
    tried = {row.rule for row in rows}
    if others := [rule for rule in shipped() if rule not in tried]:
        print(f"not asked for: {', '.join(others)}")
    print(
        f"{sum(row.good for row in rows)} of {len(rows)} fired, and ended as far as was waited; {seconds / 60:.0f} min"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"comma list of phases: {', '.join(phases())}")
    parser.add_argument("--rules", default="", help="comma list: the faults of these alone")
    parser.add_argument("--at-once", type=int, default=4, help="systems at the same time")
    parser.add_argument("--longest-end", type=float, default=2000.0, help="seconds; later ends are not waited for")
    options = parser.parse_args()
    chosen = [phase for name, phase in phases().items() if not options.only or name in options.only.split(",")]
    if options.rules:
        chosen = [kept for phase in chosen if (kept := with_rules(phase, options.rules.split(","))).lanes]
    began = time.monotonic()
    with ThreadPoolExecutor(options.at_once) as threads:
        played_out = threads.map(lambda phase: asyncio.run(played(phase, options.longest_end)), chosen)
        rows = [row for found in played_out for row in found]
    report(rows, time.monotonic() - began)
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

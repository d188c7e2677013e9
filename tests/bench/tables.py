"""How the bench's figures are printed: aligned tables, and every budget with its aim beside the figure."""

import math
from collections.abc import Iterable, Sequence

from tests.bench.budgets import Aim, aims
from tests.bench.compare import BUDGETED, Outcome, Row, Side
from tests.bench.interrupt import StopReport
from tests.bench.measure import MEBIBYTE, Usage
from tests.bench.media import MediaReport, median_and_slowest
from tests.bench.propagation import Propagation, Spread
from tests.bench.resources import ReadRow, ResourcesReport
from tests.bench.stampede import Stampede

# The processes that a cached read goes through, and the one that asks.
READING = ("gateway", "valkey", "generator")


def number(value: float, digits: int = 1) -> str:
    """A figure for a table; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Right-aligned columns under their heads; the first column is left-aligned."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def draw(line: Sequence[str]) -> str:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *cells[1:]])

    return "\n".join([draw(head), "  ".join("-" * width for width in widths), *map(draw, lines[1:])])


def latency_table(rows: Sequence[Row]) -> str:
    """First chunk, throughput and CPU: the direct call, the bare relay and ours."""
    head = ["load", "first chunk p50 ms", "p99 ms", "added p50", "streams/s", "CPU s per 1,000", "failed"]

    def line(row: Row, name: str, side: Side) -> list[str]:
        times = [number(side.first_p50), number(side.first_p99), number(row.added_p50(side), 2)]
        return [f"{row.streams} {name}", *times, number(side.rate), number(side.budgeted_cpu, 2), str(side.failed)]

    return table(head, (line(row, name, side) for row in rows for name, side in row.sides.items()))


def ratio_table(rows: Sequence[Row]) -> str:
    """Ours as multiples of the bare relay of the same run."""

    def line(row: Row) -> list[str]:
        ratios = row.ratios
        return [f"{row.streams} streams", *(f"{number(of, 2)} x" for of in (ratios.cpu, ratios.rate, ratios.first_p50))]

    return table(["ours to the bare relay", "CPU per 1,000", "streams/s", "first chunk p50"], map(line, rows))


def cpu_table(rows: Sequence[Row]) -> str:
    """CPU seconds per 1,000 streams and process, and what share of all cores was left or went to others of the host."""
    names = sorted({name for row in rows for side in row.sides.values() for name in side.cpu}, key=_process_order)

    def line(label: str, side: Side) -> list[str]:
        each = (number(side.cpu.get(name, math.nan), 2) for name in names)
        cores = side.cores
        shares = (number(share * 100) for share in (cores.idle_share, cores.others_share, cores.stolen_share))
        return [label, *each, *shares]

    sides = ((name, row) for name in rows[0].sides for row in rows)
    lines = [line(f"{row.streams} {name}", row.sides[name]) for name, row in sides]
    return table(["CPU s per 1,000", *names, "idle %", "others %", "stolen %"], lines)


def stage_table(rows: Sequence[Row]) -> str:
    """Where the time of our answers went: p50 and p99 of each stage."""
    staged = [row for row in rows if row.stages]
    names = list(staged[0].stages)
    return table(
        ["stage ms p50/p99", f"received to {names[0]}", *(f"to {name}" for name in names[1:])],
        (
            [
                f"{row.streams} streams",
                *(f"{number(p50, 2)} / {number(p99, 2)}" for p50, p99 in row.stages.values()),
            ]
            for row in staged
        ),
    )


def memory_table(at_rest: dict[str, Usage], rows: Sequence[Row]) -> str:
    """Resident MiB per process at rest and after each load."""
    names = sorted(at_rest, key=_process_order)
    lines = [["at rest", *(number(at_rest[name].resident / MEBIBYTE, 0) for name in names)]]
    lines += [
        [f"{row.streams} streams", *(number(row.resident.get(n, math.nan) / MEBIBYTE, 0) for n in names)]
        for row in rows
    ]
    return table(["resident MiB", *names], lines)


def _process_order(name: str) -> tuple[int, str]:
    ours = ["resources", "telemetry", "postgres", "sandbox", "kafka", "supervisor"]
    order = [*BUDGETED, *ours, "upstream", "generator"]
    return (order.index(name) if name in order else len(order), name)


def stop_table(stops: Sequence[StopReport]) -> str:
    """Signal to upstream closed, and what came after."""
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


def read_table(reads: Sequence[ReadRow]) -> str:
    """Cached reads of the active set."""
    names = sorted({name for row in reads for name in row.cpu if name in READING}, key=_process_order)
    head = ["cached read", "clients", "p50 ms", "p99 ms", "reads/s", *(f"CPU s/1,000: {name}" for name in names)]

    def line(row: ReadRow) -> list[str]:
        figures = [number(row.p50, 2), number(row.p99, 2), number(row.rate, 0)]
        cpu = [number(row.cpu.get(name, math.nan), 2) for name in names]
        return [row.what, str(row.readers), *figures, *cpu, number(row.stolen * 100), str(row.failed)]

    return table([*head, "stolen %", "failed"], map(line, reads))


def stampede_table(stampedes: Sequence[Stampede]) -> str:
    """Readers at once of what is not cached."""

    def line(part: Stampede) -> list[str]:
        counts = [str(part.readers), str(part.rounds), part.of, str(part.calls)]
        return [part.what, *counts, number(part.p50), number(part.slowest), str(part.failed)]

    head = ["cold stampede", "readers", "rounds", "counted", "most in a round", "p50 ms", "slowest ms", "failed"]
    return table(head, map(line, stampedes))


def propagation_table(ways: Sequence[Propagation]) -> str:
    """Switches until the last replica serves them, and each replica by itself."""

    def spread(times: Spread) -> str:
        return f"{number(times.p50)} / {number(times.p99)} / {number(times.most)}"

    def line(way: Propagation) -> list[str]:
        figures = map(spread, (way.answer, way.since_sent, way.since_answer))
        return [way.replicas, str(way.switches), *figures, str(way.failed)]

    head = ["switch, ms p50/p99/max", "n", "answered", "last replica, since sent", "since answered", "failed"]
    each = [[name, spread(times)] for way in ways for name, times in way.each.items()]
    return table(head, map(line, ways)) + "\n\n" + table(["replica serves a switch", "since sent"], each)


def resource_tables(report: ResourcesReport) -> list[str]:
    """All tables of what was measured of resources."""
    parts = [read_table(report.reads)]
    if report.stampedes:
        parts.append(stampede_table(report.stampedes))
    if report.propagation:
        parts.append(propagation_table(report.propagation))
    return parts


def media_table(report: MediaReport) -> str:
    """What was measured of jobs."""
    median, slowest = median_and_slowest(report.first_progress)
    return table(
        ["jobs of media", "measured"],
        [
            ["accepted", f"{report.accepted} at {number(report.accepted_rate)}/s, p50 {number(report.accept_p50)} ms"],
            [
                "CPU s per 1,000 jobs",
                ", ".join(f"{name} {number(cpu, 2)}" for name, cpu in report.cpu.items() if cpu >= 0.01),
            ],
            ["first progress, p50 and p99", f"{number(median)} and {number(slowest)} ms"],
            ["memory", f"{number(report.memory)} MiB with {report.at_work} at work"],
            ["first chunk p99, idle", f"{number(report.voice_idle)} ms"],
            ["first chunk p99, beside renderings", f"{number(report.voice_beside)} ms"],
            ["first chunk p99, beside analyses", f"{number(report.voice_analysing)} ms"],
        ],
    )


def aims_table(aims: Sequence[Aim]) -> str:
    """Every budget with its figure."""
    sign = {True: ">=", False: "<="}
    return table(
        ["budget", "measured", "aim", "verdict"],
        (
            [
                aim.what,
                f"{number(aim.value, 2)} {aim.unit}",
                f"{sign[aim.at_least]} {aim.bound:g} {aim.unit}",
                aim.verdict,
            ]
            for aim in aims
        ),
    )


def host_lines(rows: Sequence[Row]) -> str:
    """For each load whether its times may be quoted, and who else ran on this machine."""

    def line(row: Row) -> str:
        stolen, others = number(row.cores.stolen_share * 100), number(row.cores.others_share * 100)
        return f"host at load {row.streams}: took {stolen} % of the cores, {row.cores.host}; others here {others} %"

    return "\n".join(map(line, rows))


def chat_tables(outcome: Outcome) -> list[str]:
    """All tables of streams, with what the host did before them."""
    rows = outcome.rows
    staged = [stage_table(rows)] if any(row.stages for row in rows) else []
    return [host_lines(rows), latency_table(rows), ratio_table(rows), *staged, cpu_table(rows)]


def report(outcome: Outcome) -> str:
    """All tables of one log."""
    parts = [f"== log: {outcome.log} =="]
    if outcome.rows:
        parts += chat_tables(outcome)
    if outcome.at_rest:
        parts.append(memory_table(outcome.at_rest, outcome.rows))
    if outcome.stops:
        parts.append(stop_table(outcome.stops))
    reasons = outcome.reasons
    if outcome.resources:
        parts += resource_tables(outcome.resources)
        reasons = {**reasons, **outcome.resources.reasons}
    if outcome.media:
        parts.append(media_table(outcome.media))
        reasons = {**reasons, **outcome.media.reasons}
    parts.append(aims_table(aims(outcome)))
    parts += [f"failed {count} x: {reason}" for reason, count in reasons.items()]
    return "\n\n".join(parts)

"""How the bench's figures are printed: aligned tables, and every budget with its aim beside the figure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.measure import MEBIBYTE, Usage


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
    resident: dict[str, int]
    failed: int

    @property
    def added_p50(self) -> float:
        """What we add to the first chunk, ms."""
        return self.first_p50 - self.direct_first_p50


# The processes whose CPU the budget counts: gateway, llm-stream and the live store.
BUDGETED = ("gateway", "llm-stream", "valkey")


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
    """First chunk and throughput, ours beside the direct call."""
    head = [
        "streams",
        "first chunk ms: direct p50/p99",
        "ours p50/p99",
        "added p50",
        "streams/s: direct",
        "ours",
        "failed",
    ]
    return table(
        head,
        (
            [
                str(row.streams),
                f"{number(row.direct_first_p50)} / {number(row.direct_first_p99)}",
                f"{number(row.first_p50)} / {number(row.first_p99)}",
                number(row.added_p50, 2),
                number(row.direct_rate),
                number(row.rate),
                str(row.failed),
            ]
            for row in rows
        ),
    )


def cpu_table(rows: Sequence[Row]) -> str:
    """CPU seconds per 1,000 streams and process."""
    names = sorted({name for row in rows for name in row.cpu}, key=_process_order)

    def line(label: str, cpu: dict[str, float], total: float) -> list[str]:
        return [label, *(number(cpu.get(name, math.nan), 2) for name in names), number(total, 2)]

    lines = [line(f"{row.streams} direct", row.direct_cpu, math.nan) for row in rows]
    lines += [line(f"{row.streams} ours", row.cpu, budgeted(row)) for row in rows]
    return table(["CPU s per 1,000", *names, "budgeted"], lines)


def budgeted(row: Row) -> float:
    """CPU seconds per 1,000 streams of gateway, llm-stream and live store."""
    return sum(row.cpu.get(name, 0.0) for name in BUDGETED)


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
    order = [*BUDGETED, "telemetry", "postgres", "sandbox", "kafka", "supervisor", "upstream", "generator"]
    return (order.index(name) if name in order else len(order), name)


@dataclass(frozen=True, slots=True)
class Aim:
    """A budget: what was measured, the bound, and whether the bound is a floor."""

    what: str
    value: float
    bound: float
    unit: str
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`ok` or `missed`; `not measured` where there is no figure."""
        if math.isnan(self.value):
            return "not measured"
        met = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "ok" if met else "missed"


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

"""The budgets of the design that this bench can judge, each with its aim and the figure of a run."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.compare import NAN, Outcome, Row
from tests.bench.measure import MEBIBYTE
from tests.bench.resources import ResourcesReport

# The processes whose CPU the budget counts: gateway, llm-stream and the live store.
BUDGETED = ("gateway", "llm-stream", "valkey")
# The memory aim is for what we wrote; the engines are sized by their own settings.
SERVICES = ("gateway", "llm-stream", "resources", "telemetry", "sandbox")
# Milliseconds we may add to the first chunk; a round trip through Kafka costs a little more.
ADDED = {"embedded": 3.0, "kafka": 5.0}


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


def budgeted_cpu(row: Row) -> float:
    """CPU seconds per 1,000 streams of gateway, llm-stream and live store; NaN where none was seen."""
    return sum(row.cpu[name] for name in BUDGETED if name in row.cpu) or NAN


def aims(outcome: Outcome) -> list[Aim]:
    """Every budget with the figure of this log; of chat and of resources only where they were measured."""
    services = [usage.resident for name, usage in outcome.at_rest.items() if name in SERVICES]
    return [
        *(chat_aims(outcome) if outcome.rows else ()),
        *(resource_aims(outcome.resources) if outcome.resources else ()),
        Aim("largest service at rest", max(services, default=NAN) / MEBIBYTE, 150, "MiB"),
        Aim("start to ready, not the first", outcome.start_seconds, 10, "s"),
    ]


def chat_aims(outcome: Outcome) -> list[Aim]:
    """What streams may cost."""
    rows = {row.streams: row for row in outcome.rows}

    def at(streams: int, read: Callable[[Row], float]) -> float:
        return read(rows[streams]) if streams in rows else NAN

    added = ADDED.get(outcome.log, ADDED["embedded"])
    # The first kind of stop is the interruption; the rest are clients that hang up.
    stop = next((stop for stop in outcome.stops[:1] if not math.isnan(stop.stop_p99)), None)
    return [
        Aim("added time to first chunk, p50, 1 stream", at(1, lambda row: row.added_p50), added, "ms"),
        Aim("streams/s at 200", at(200, lambda row: row.rate), 500, "/s", at_least=True),
        Aim("first chunk p50 at 200", at(200, lambda row: row.first_p50), 150, "ms"),
        Aim("streams/s at 50", at(50, lambda row: row.rate), 350, "/s", at_least=True),
        Aim("first chunk p50 at 50", at(50, lambda row: row.first_p50), 30, "ms"),
        Aim(f"CPU per 1,000 at 200: {' + '.join(BUDGETED)}", at(200, budgeted_cpu), 2, "s"),
        Aim("interruption to upstream closed, p99", stop.stop_p99 if stop else NAN, 10, "ms"),
        Aim("content after the interruption", stop.content_bytes_after if stop else NAN, 0, "bytes"),
    ]


def resource_aims(report: ResourcesReport) -> list[Aim]:
    """What reading and switching active sets may cost; of several figures the worst counts."""
    alone = [row.p50 for row in report.reads if row.readers == 1]
    crowd = [row.rate for row in report.reads if row.readers == 50]
    ways = [way.since_sent.p99 for way in report.propagation]
    return [
        Aim("active set, cached read p50, 1 client", max(alone, default=NAN), 2, "ms"),
        Aim("active set, cached reads/s, 50 clients, 1 gateway", min(crowd, default=NAN), 2000, "/s", at_least=True),
        *(Aim(f"stampede of {s.readers}: {s.of}", s.calls, 1, "") for s in report.stampedes),
        Aim("switch sent to last replica serving it, p99", max(ways, default=NAN), 250, "ms"),
    ]

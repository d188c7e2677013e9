"""The budgets that this bench can judge, each with its aim and the figure of a run."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.compare import NAN, Outcome, Row
from tests.bench.measure import MEBIBYTE
from tests.bench.media import MediaReport, median_and_slowest
from tests.bench.resources import ResourcesReport

# The memory aim is for what we wrote; the engines are sized by their own settings.
SERVICES = ("gateway", "llm-stream", "media", "resources", "telemetry", "sandbox")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What depends on the log, for a round trip through Kafka costs more: ms, streams/s, multiples and seconds."""

    added: float
    rate_at_50: float
    first_at_50: float
    rate_at_200: float
    first_at_200: float
    cpu_ratio: float
    start: float


EMBEDDED = Bounds(added=2, rate_at_50=370, first_at_50=27, rate_at_200=1000, first_at_200=70, cpu_ratio=1.5, start=10)
KAFKA = Bounds(added=5, rate_at_50=340, first_at_50=38, rate_at_200=850, first_at_200=100, cpu_ratio=1.7, start=15)


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


def bounds_of(log: str) -> Bounds:
    """The bounds on a log; the narrower ones where the bench was not told which it is."""
    return KAFKA if log == "kafka" else EMBEDDED


def aims(outcome: Outcome) -> list[Aim]:
    """Every budget with the figure of this log; of chat and of resources only where they were measured."""
    services = [usage.resident for name, usage in outcome.at_rest.items() if name in SERVICES]
    bounds = bounds_of(outcome.log)
    return [
        *(chat_aims(outcome, bounds) if outcome.rows else ()),
        *(stop_aims(outcome) if outcome.rows else ()),
        *(resource_aims(outcome.resources) if outcome.resources else ()),
        *(media_aims(outcome.media) if outcome.media else ()),
        Aim("largest service at rest", max(services, default=NAN) / MEBIBYTE, 150, "MiB"),
        Aim("start to ready, not the first", outcome.start_seconds, bounds.start, "s"),
    ]


def chat_aims(outcome: Outcome, bounds: Bounds) -> list[Aim]:
    """What streams may cost."""
    rows = {row.streams: row for row in outcome.rows}

    def at(streams: int, read: Callable[[Row], float]) -> float:
        return read(rows[streams]) if streams in rows else NAN

    def rate(streams: int, bound: float) -> Aim:
        return Aim(f"streams/s at {streams}", at(streams, lambda row: row.ours.rate), bound, "/s", at_least=True)

    def first(streams: int, bound: float) -> Aim:
        return Aim(f"first chunk p50 at {streams}", at(streams, lambda row: row.ours.first_p50), bound, "ms")

    added, cpu = at(1, lambda row: row.added_p50(row.ours)), at(200, lambda row: row.ratios.cpu)
    return [
        Aim("added time to first chunk, p50, 1 stream", added, bounds.added, "ms"),
        rate(50, bounds.rate_at_50),
        first(50, bounds.first_at_50),
        rate(200, bounds.rate_at_200),
        first(200, bounds.first_at_200),
        Aim("CPU at 200, as a multiple of the bare relay's", cpu, bounds.cpu_ratio, "x"),
    ]


def stop_aims(outcome: Outcome) -> list[Aim]:
    """What an interruption may cost."""
    # The first kind of stop is the interruption; the rest are clients that hang up.
    stop = next((stop for stop in outcome.stops[:1] if not math.isnan(stop.stop_p99)), None)
    return [
        Aim("interruption to upstream closed, p99", stop.stop_p99 if stop else NAN, 10, "ms"),
        Aim("content after the interruption", stop.content_bytes_after if stop else NAN, 0, "bytes"),
    ]


def resource_aims(report: ResourcesReport) -> list[Aim]:
    """What reading active sets may cost; of several figures the worst counts."""
    alone = [row.p50 for row in report.reads if row.readers == 1]
    crowd = [row.rate for row in report.reads if row.readers == 50]
    return [
        Aim("active set, cached read p50, 1 client", max(alone, default=NAN), 1, "ms"),
        Aim("active set, cached reads/s, 50 clients, 1 gateway", min(crowd, default=NAN), 3000, "/s", at_least=True),
    ]


def media_aims(report: MediaReport) -> list[Aim]:
    """What jobs may cost."""
    progress = median_and_slowest(report.first_progress)[0]
    return [
        Aim("jobs accepted/s, 1 gateway", report.accepted_rate, 300, "/s", at_least=True),
        Aim("first progress of a job, p50", progress, 500, "ms"),
        Aim(f"media with {report.at_work} videos at work", report.memory or NAN, 256, "MiB"),
        Aim("first chunk p99 beside renderings, to idle", report.voice_ratio or NAN, 1.5, "x"),
        Aim("first chunk p99 beside analyses, to idle", report.analysing_ratio or NAN, 1.5, "x"),
    ]

"""Resources on the running system: cached reads over HTTP, cold stampedes, and how fast a switch reaches everybody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench.propagation import Propagation, propagation, replicas
from tests.bench.site import ACTIVE, CONFIGS, USER, Site, new_site, prepare
from tests.bench.stampede import PROVIDER_KEY, Stampede, on_a_set, on_a_version
from tests.bench.system import Sample, Target, generate

# The organisation whose resources are kept at the voice provider, for which a sandbox stands in.
AT_PROVIDER = "bench-at-provider"


def provider_settings(provider_url: str) -> dict[str, str]:
    """What a system is told about the voice provider."""
    return {
        "SONANT_HUME_BASE_URL": provider_url,
        "SONANT_HUME_API_KEY": PROVIDER_KEY,
        "SONANT_HUME_SECRET_KEY": PROVIDER_KEY,
        "SONANT_HUME_ORGANIZATIONS": AT_PROVIDER,
    }


@dataclass(frozen=True, slots=True)
class ReadRow:
    """Reads of one path by so many connections. Times in ms, CPU in seconds per 1,000 reads, `stolen` in 0..1."""

    what: str
    readers: int
    p50: float
    p99: float
    rate: float
    cpu: dict[str, float]
    stolen: float
    failed: int


@dataclass
class ResourcesReport:
    """All figures of resources on one log."""

    reads: list[ReadRow] = field(default_factory=list)
    stampedes: list[Stampede] = field(default_factory=list)
    propagation: list[Propagation] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Reads that were refused, and switches that did not arrive."""
        parts: list[ReadRow | Stampede | Propagation] = [*self.reads, *self.stampedes, *self.propagation]
        return sum(part.failed for part in parts)

    def add_reasons(self, reasons: Mapping[str, int]) -> None:
        """Count why something failed."""
        for reason, count in reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


@dataclass(frozen=True)
class ResourcesPlan:
    """How much to measure; no stampede of 0 readers and no switches where they are 0.

    Seconds are per path and number of readers.
    """

    readers: tuple[int, ...] = (1, 50)
    seconds: float = 3.0
    warmup: float = 0.5
    stampede: int = 500
    rounds: int = 3
    switches: int = 200

    def run(
        self, log: str, target: Target, data_dir: Path, models_file: Path, provider_url: str | None
    ) -> ResourcesReport:
        """Measure one running system; without `provider_url` no provider is asked."""
        report = ResourcesReport()
        site = uvloop.run(prepare(target, data_dir))
        report.reads = list(self._reads(log, site, report))
        if self.stampede:
            print(f"{log}: stampedes of {self.stampede} readers ...", flush=True)
            report.stampedes = uvloop.run(self._stampedes(site, provider_url))
        if self.switches:
            print(f"{log}: {self.switches} switches ...", flush=True)
            with replicas(site, log, models_file) as found:
                report.propagation = [uvloop.run(propagation(site, found, self.switches))]
        parts: list[Stampede | Propagation] = [*report.stampedes, *report.propagation]
        for part in parts:
            report.add_reasons(part.reasons)
        return report

    def _reads(self, log: str, site: Site, report: ResourcesReport) -> Iterator[ReadRow]:
        reader = Target(site.target.url, site.key, site.target.model, site.target.pids)
        for what, path in (("GET /v1/active", ACTIVE), ("GET /api/hume/configs?active=true", CONFIGS)):
            for readers in self.readers:
                print(f"{log}: {what}, {readers} readers ...", flush=True)
                load = ["tests.bench.reads", "--path", path, "--user", USER, "--readers", str(readers)]
                sample = generate(reader, load, self.seconds, self.warmup, {})
                report.add_reasons(sample.load.reasons)
                yield read_row(what, readers, sample)

    async def _stampedes(self, site: Site, provider_url: str | None) -> list[Stampede]:
        found = [await on_a_set(site, self.stampede, self.rounds)]
        if provider_url is not None:
            kept_there = await new_site(site.target, site.data_dir, AT_PROVIDER)
            found.append(await on_a_version(kept_there, provider_url, self.stampede, self.rounds))
        return found


def read_row(what: str, readers: int, sample: Sample) -> ReadRow:
    """The figures of one run of the generator."""
    seen, cpu, stolen = sample.load, sample.cpu_per_thousand(), sample.cores.stolen_share
    return ReadRow(what, readers, seen.first_p50, seen.first_p99, seen.rate, cpu, stolen, seen.failed)

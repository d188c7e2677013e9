"""CPU seconds and resident memory of named processes, helpers and children included; and what all cores did."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import psutil

MEBIBYTE = 1024 * 1024
# A time counts where the host took less than this share of the cores.
QUIET_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Usage:
    """What one named process has used: its pid, CPU seconds since it started, resident bytes now."""

    pid: int
    cpu_seconds: float
    resident: int


@dataclass(frozen=True, slots=True)
class Cores:
    """Seconds of all cores together.

    In those `stolen` the host ran something else than this machine; in those of `others`, where somebody has counted
    them, this machine ran something else than the bench and its system.
    """

    total: float
    idle: float
    stolen: float
    others: float = 0.0

    @property
    def idle_share(self) -> float:
        """What was left, 0..1; NaN where no time passed."""
        return self.idle / self.total if self.total else math.nan

    @property
    def stolen_share(self) -> float:
        """What the host took, 0..1; NaN where the system does not tell, or no time passed."""
        return self.stolen / self.total if self.total else math.nan

    @property
    def others_share(self) -> float:
        """What other processes of this machine took, 0..1; NaN where no time passed."""
        return self.others / self.total if self.total else math.nan

    @property
    def host(self) -> str:
        """Whether times of this span may be quoted, in words."""
        if math.isnan(self.stolen_share):
            return "the system does not tell what its host takes: quote the ratios"
        return "quiet" if self.stolen_share < QUIET_SHARE else "not quiet: quote the ratios"

    def __sub__(self, before: "Cores") -> "Cores":
        total, idle, stolen = self.total - before.total, self.idle - before.idle, self.stolen - before.stolen
        return Cores(total, idle, stolen, self.others - before.others)

    def __add__(self, other: "Cores") -> "Cores":
        total, idle, stolen = self.total + other.total, self.idle + other.idle, self.stolen + other.stolen
        return Cores(total, idle, stolen, self.others + other.others)

    def less(self, known: float) -> "Cores":
        """The same, with what others used beside so many seconds of known processes."""
        return replace(self, others=max(0.0, self.total - self.idle - self.stolen - known))


NO_CORES = Cores(0.0, 0.0, 0.0)


def cores() -> Cores:
    """Since the machine started; `stolen` is NaN on a system that does not tell it."""
    times = psutil.cpu_times()._asdict()
    # What guests of this machine use is in user and nice already.
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return Cores(total, times["idle"] + times.get("iowait", 0.0), times.get("steal", math.nan))


def usage_of(pids: Mapping[str, int]) -> dict[str, Usage]:
    """The usage of each process with its tree; a tree ends where another named process begins."""
    named = set(pids.values())
    found = {name: _tree_usage(pid, named - {pid}) for name, pid in pids.items()}
    return {name: usage for name, usage in found.items() if usage is not None}


def cpu_between(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """CPU seconds per name; a process that was restarted in between counts from its start."""
    return {name: usage.cpu_seconds - _cpu_at(before.get(name), usage.pid) for name, usage in after.items()}


def _cpu_at(before: Usage | None, pid: int) -> float:
    return before.cpu_seconds if before is not None and before.pid == pid else 0.0


def _tree_usage(pid: int, others: set[int]) -> Usage | None:
    try:
        members = list(_tree(psutil.Process(pid), others))
        cpu, resident = sum(map(_cpu, members)), sum(_memory(members))
    except psutil.NoSuchProcess:
        # It is being restarted, or one of its children ended just now.
        return None
    return Usage(pid, cpu, resident)


def _tree(process: psutil.Process, others: set[int]) -> Iterable[psutil.Process]:
    yield process
    for child in process.children():
        if child.pid not in others:
            yield from _tree(child, others)


def _cpu(process: psutil.Process) -> float:
    """User and system seconds; those of children that ended are in the parent's figure, so nothing counts twice."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory(members: list[psutil.Process]) -> Iterable[int]:
    """Resident bytes; in a tree the proportional share, else the pages its members share would count many times."""
    if len(members) == 1:
        return [members[0].memory_info().rss]
    return [_proportional(member) for member in members]


def _proportional(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", full.rss))

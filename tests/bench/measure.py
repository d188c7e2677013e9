"""CPU seconds and resident memory of named processes, helpers and children included; and what all cores did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What one named process has used: its pid, CPU seconds since it started, resident bytes now."""

    pid: int
    cpu_seconds: float
    resident: int


@dataclass(frozen=True, slots=True)
class Cores:
    """Seconds of all cores together; `stolen` are those in which the host ran something else than this machine."""

    total: float
    idle: float
    stolen: float

    def __sub__(self, before: "Cores") -> "Cores":
        return Cores(self.total - before.total, self.idle - before.idle, self.stolen - before.stolen)

    def __add__(self, other: "Cores") -> "Cores":
        return Cores(self.total + other.total, self.idle + other.idle, self.stolen + other.stolen)


def cores() -> Cores:
    """Since the machine started; what a system does not tell counts as nothing."""
    times = psutil.cpu_times()._asdict()
    # What guests of this machine use is in user and nice already.
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return Cores(total, times["idle"] + times.get("iowait", 0.0), times.get("steal", 0.0))


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

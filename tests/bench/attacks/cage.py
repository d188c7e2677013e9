"""Memory cages: each process of a system within the limit that Docker Compose gives its container, by cgroups."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import yaml

from tests.bench.system import ROOT

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}


def unavailable() -> str | None:
    """Why no cage can be made here; None where one can."""
    base = _base()
    if base is None:
        return "there is no memory controller of cgroups below /sys/fs/cgroup"
    return None if os.access(base, os.W_OK) else f"{base} cannot be written: cages need root"


def _base() -> Path | None:
    if (_V1 / "memory.limit_in_bytes").exists() or (_V1 / "tasks").exists():
        return _V1
    controllers = _V2 / "cgroup.controllers"
    return _V2 if controllers.exists() and "memory" in controllers.read_text().split() else None


@cache
def compose_limits() -> Mapping[str, int]:
    """Bytes of memory that each service of docker-compose.yml may have."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return {name: _bytes(service["deploy"]["resources"]["limits"]["memory"]) for name, service in services.items()}


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1].lower()]


class Cage:
    """One group with a limit (bytes). What its processes held before they came in counts as well."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._is_v1 = folder.is_relative_to(_V1)
        folder.mkdir(parents=True)
        self._limit_to(limit)

    def _limit_to(self, limit: int) -> None:
        (self._folder / ("memory.limit_in_bytes" if self._is_v1 else "memory.max")).write_text(str(limit))

    def take(self, pid: int) -> None:
        """Put a process in, with all it has started; what it starts later is in by itself."""
        with suppress(psutil.Error, OSError):
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            held = sum(process.memory_full_info().pss for process in tree)
            for process in tree:
                (self._folder / "cgroup.procs").write_text(str(process.pid))
            # Pages stay charged where they were first used, so the room gets smaller by them.
            self._limit_to(max(self._limit // 4, self._limit - held))

    def kills(self) -> int:
        """How many processes of it the kernel has killed for memory."""
        with suppress(OSError):
            text = (self._folder / ("memory.oom_control" if self._is_v1 else "memory.events")).read_text()
            return sum(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == "oom_kill")
        return 0

    def remove(self) -> None:
        """Put back what still runs, and remove the group."""
        with suppress(OSError):
            for pid in (self._folder / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (self._folder.parent.parent / "cgroup.procs").write_text(pid)
            self._folder.rmdir()


@contextmanager
def cages(limits: Mapping[str, int]) -> Iterator[dict[str, Cage]]:
    """A cage for each name."""
    base = _base()
    assert base, "ask unavailable() first"
    own = base / f"sonant-attacks-{os.getpid()}"
    own.mkdir()
    if base == _V2:
        for folder in (base, own):
            (folder / "cgroup.subtree_control").write_text("+memory")
    made: dict[str, Cage] = {}
    try:
        for name, limit in limits.items():
            made[name] = Cage(own / name, limit)
        yield made
    finally:
        for cage in made.values():
            cage.remove()
        with suppress(OSError):
            own.rmdir()

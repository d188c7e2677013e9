"""Watching the processes of a system while it is attacked: who was killed, and how much memory each took at most."""

import asyncio
import itertools
from collections.abc import Callable, Mapping

from tests.bench.attacks.cage import Cage
from tests.bench.measure import usage_of

LOOK_SECONDS = 0.25
LOOKS_PER_WEIGHING = 4


class Watch:
    """Looks at the processes every quarter of a second, and weighs them every second.

    A pid that changes is a process that died.
    """

    def __init__(self, pids: Callable[[], dict[str, int]], cages: Mapping[str, Cage]) -> None:
        self._pids = pids
        self._cages = cages
        self._known: dict[str, int] = {}
        self._expected: set[str] = set()
        self.killed: dict[str, int] = {}
        self.peaks: dict[str, int] = {}

    def expect(self, name: str) -> None:
        """The next change of this process's pid is wanted: the attack itself ends it."""
        self._expected.add(name)

    async def run(self) -> None:
        """Look until cancelled."""
        for turn in itertools.count():
            await asyncio.to_thread(self.look)
            if turn % LOOKS_PER_WEIGHING == 0:
                await asyncio.to_thread(self.weigh)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Note deaths, and put what is new into its cage."""
        for name, pid in self._pids().items():
            if self._known.get(name) != pid:
                self._begin(name, pid)

    def weigh(self) -> None:
        """Note peaks of resident memory. Telling apart what the processes of a database share takes its time."""
        for name, usage in usage_of(self._pids()).items():
            self.peaks[name] = max(self.peaks.get(name, 0), usage.resident)

    def _begin(self, name: str, pid: int) -> None:
        if name in self._known:
            if name not in self._expected:
                self.killed[name] = self.killed.get(name, 0) + 1
            self._expected.discard(name)
        self._known[name] = pid
        if name in self._cages:
            self._cages[name].take(pid)

    def deaths(self) -> dict[str, int]:
        """Processes that died or were killed within their cage, with how often; and those that are gone."""
        gone = {name: 1 for name in self._known.keys() - self._pids().keys() if name not in self._expected}
        caged = {name: kills for name, cage in self._cages.items() if (kills := cage.kills())}
        return {
            name: max(self.killed.get(name, 0), gone.get(name, 0), caged.get(name, 0))
            for name in {*self.killed, *gone, *caged}
        }

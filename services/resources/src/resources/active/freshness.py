"""Keeping parts of active sets fresh: whether a provider still has them, looked up once in a while."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

from common.clients.resources.entries import NEGATIVE_FRESH_SECONDS
from common.events.resource_terms import Kind
from common.failures import Refused, Retry
from common.kernel.single_flight import SingleFlight
from resources.ports import Catalogue
from resources.scopes import Pinned

# Calls to a provider at a time for one organisation; its other callers have the rest.
MAX_CALLS = 8
# A set with a part that is due, or whose look-up is still under way, is due again after this.
UNKNOWN_SECONDS = 1.0
# Resources whose look-ups are remembered; about 400 bytes each. One that is forgotten is looked up early.
MAX_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a look-up: whether the part is gone. Times are unix seconds.

    `began` is when it was asked for, `until` how long it is believed.
    """

    gone: bool
    began: float
    until: float


@dataclass(frozen=True, slots=True)
class Known:
    """Parts of sets that are gone, and until when (unix seconds) what is known of each is believed."""

    gone: AbstractSet[Pinned]
    until: Mapping[Pinned, float]

    def fresh_until(self, pins: Collection[Pinned], latest: float) -> float:
        """Until when a set of these may be taken for current, `latest` at most."""
        return min((self.until.get(pin, latest) for pin in pins), default=latest)


# Where the catalogue is our own, the tables say all there is.
NOTHING_TO_ADD = Known(frozenset(), {})


class Freshness:
    """Every part is looked up at most once in `fresh_seconds`, by one call however many wait for it.

    What is gone, and what the provider did not tell about, is asked for again sooner.
    """

    def __init__(self, catalogue_of: Callable[[str], Catalogue], *, fresh_seconds: float) -> None:
        self._catalogue_of = catalogue_of
        self._fresh_seconds = fresh_seconds
        self._soon_seconds = min(fresh_seconds, NEGATIVE_FRESH_SECONDS)
        # By resource, then by version.
        self._findings: OrderedDict[tuple[str, Kind, str], dict[int | None, Finding]] = OrderedDict()
        self._flights: SingleFlight[tuple[str, Pinned], None] = SingleFlight("look up")
        # When those under way began, in unix seconds.
        self._began: dict[tuple[str, Pinned], float] = {}
        self._room: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_CALLS))

    def needed(self, org_id: str) -> bool:
        """Whether the tables alone do not tell what an organisation has."""
        return self._catalogue_of(org_id).name != "local"

    def due(self, org_id: str, pins: Collection[Pinned]) -> Sequence[Pinned]:
        """Those of which nothing is known that is still believed."""
        now = time.time()
        return [pin for pin in pins if (last := self._last(org_id, pin)) is None or last.until <= now]

    async def look_up(self, org_id: str, pins: Collection[Pinned], seconds: float) -> None:
        """Look these up, as far as that goes in `seconds`; what takes longer goes on for the next one."""
        done, _ = await asyncio.wait({self._begin(org_id, pin) for pin in pins}, timeout=seconds)
        for flight in done:
            flight.result()

    def known(self, org_id: str, pins: Collection[Pinned]) -> Known:
        """What was found last; what was not looked up yet is taken for there."""
        if not self.needed(org_id):
            return NOTHING_TO_ADD
        soonest = time.time() + UNKNOWN_SECONDS
        found = {pin: self._last(org_id, pin) for pin in pins}
        gone = frozenset(pin for pin, each in found.items() if each is not None and each.gone)
        return Known(gone, {pin: max(soonest, each.until) if each else soonest for pin, each in found.items()})

    def outdated(self, org_id: str, kind: Kind, id: str, at: float) -> None:
        """A resource changed: what was looked up before is due. Until it is looked up, what is gone stays gone."""
        versions = self._findings.get((org_id, kind, id), {})
        versions.update({v: replace(each, until=0.0) for v, each in versions.items() if each.began <= at})
        for (org, pin), began in list(self._began.items()):
            if (org, pin.kind, pin.id) == (org_id, kind, id) and began <= at:
                del self._began[org, pin]
                self._flights.forget((org, pin))

    def _last(self, org_id: str, pin: Pinned) -> Finding | None:
        return self._findings.get((org_id, pin.kind, pin.id), {}).get(pin.version)

    def _remember(self, org_id: str, pin: Pinned, finding: Finding) -> None:
        name = (org_id, pin.kind, pin.id)
        self._findings.setdefault(name, {})[pin.version] = finding
        self._findings.move_to_end(name)
        if len(self._findings) > MAX_REMEMBERED:
            self._findings.popitem(last=False)

    def _begin(self, org_id: str, pin: Pinned) -> "asyncio.Task[None]":
        return self._flights.begin((org_id, pin), partial(self._look_up, org_id, pin))

    async def _look_up(self, org_id: str, pin: Pinned) -> None:
        began = self._began[org_id, pin] = time.time()
        try:
            gone = await self._is_gone(org_id, pin)
            # A change may have made this answer worthless meanwhile.
            if self._flights.current((org_id, pin)):
                self._remember(org_id, pin, self._finding(org_id, pin, gone, began))
        finally:
            if self._flights.current((org_id, pin)):
                del self._began[org_id, pin]

    def _finding(self, org_id: str, pin: Pinned, gone: bool | None, began: float) -> Finding:
        before = self._last(org_id, pin)
        if gone is None:
            gone, believed = before is not None and before.gone, self._soon_seconds
        else:
            believed = self._soon_seconds if gone else self._fresh_seconds
        return Finding(gone, began, time.time() + believed)

    async def _is_gone(self, org_id: str, pin: Pinned) -> bool | None:
        """Whether the provider has it no more; None where it does not tell, which is no reason to doubt it."""
        async with self._room[org_id]:
            try:
                await self._catalogue_of(org_id).get(org_id, *pin, or_copy=False)
            except Refused as refused:
                return True if refused.status == 404 else None
            except Retry:
                return None
        return False

"""What a provider was last heard to say about parts of sets: asked once in a while, however many sets they are in."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from common.clients.resources.entries import NEGATIVE_FRESH_SECONDS
from common.events.resources import Kind
from common.failures import Retry
from resources.places import Pinned
from resources.ports import Catalogue, ProviderDown, Refused

# Questions to a provider at a time for one organisation; its other callers have the rest.
AT_ONCE = 8
# A set with a part that is due, or whose look-up is still under way, is due again after this.
UNKNOWN_SECONDS = 1.0
# Resources whose look-ups are remembered; about 400 bytes each. One that is forgotten is looked up early.
MOST_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Said:
    """The outcome of a look-up: whether the part is gone. Times are unix seconds.

    `asked` is when, `until` how long it is believed.
    """

    gone: bool
    asked: float
    until: float


@dataclass(frozen=True, slots=True)
class Flight:
    """A look-up under way since `asked`."""

    asked: float
    task: "asyncio.Task[None]"


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


class LookUps:
    """Every part is looked up at most once in `fresh_seconds`, by one question however many wait for it.

    What is gone, and what the provider did not tell about, is asked for again sooner.
    """

    def __init__(self, catalogue_of: Callable[[str], Catalogue], *, fresh_seconds: float) -> None:
        self._catalogue_of = catalogue_of
        self._fresh_seconds = fresh_seconds
        self._soon_seconds = min(fresh_seconds, NEGATIVE_FRESH_SECONDS)
        # By resource, then by version.
        self._said: OrderedDict[tuple[str, Kind, str], dict[int | None, Said]] = OrderedDict()
        self._running: dict[tuple[str, Pinned], Flight] = {}
        self._room: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    def needed(self, org_id: str) -> bool:
        """Whether the tables alone do not tell what an organisation has."""
        return self._catalogue_of(org_id).name != "local"

    def due(self, org_id: str, pins: Collection[Pinned]) -> Sequence[Pinned]:
        """Those of which nothing is known that is still believed."""
        now = time.time()
        return [pin for pin in pins if (said := self._last(org_id, pin)) is None or said.until <= now]

    async def ask(self, org_id: str, pins: Collection[Pinned], seconds: float) -> None:
        """Look these up, as far as that goes in `seconds`; what takes longer goes on for the next one."""
        done, _ = await asyncio.wait({self._begin(org_id, pin) for pin in pins}, timeout=seconds)
        for task in done:
            task.result()

    def known(self, org_id: str, pins: Collection[Pinned]) -> Known:
        """What was said last; what was not looked up yet is taken for there."""
        if not self.needed(org_id):
            return NOTHING_TO_ADD
        soonest = time.time() + UNKNOWN_SECONDS
        said = {pin: self._last(org_id, pin) for pin in pins}
        gone = frozenset(pin for pin, each in said.items() if each is not None and each.gone)
        return Known(gone, {pin: max(soonest, each.until) if each else soonest for pin, each in said.items()})

    def outdated(self, org_id: str, kind: Kind, id: str, at: float) -> None:
        """A resource changed: what was asked before is due. Until it is looked up, what is gone stays gone."""
        versions = self._said.get((org_id, kind, id), {})
        versions.update({v: replace(said, until=0.0) for v, said in versions.items() if said.asked <= at})
        for (org, pin), flight in list(self._running.items()):
            if (org, pin.kind, pin.id) == (org_id, kind, id) and flight.asked <= at:
                del self._running[org, pin]

    def _last(self, org_id: str, pin: Pinned) -> Said | None:
        return self._said.get((org_id, pin.kind, pin.id), {}).get(pin.version)

    def _remember(self, org_id: str, pin: Pinned, said: Said) -> None:
        name = (org_id, pin.kind, pin.id)
        self._said.setdefault(name, {})[pin.version] = said
        self._said.move_to_end(name)
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)

    def _begin(self, org_id: str, pin: Pinned) -> "asyncio.Task[None]":
        flight = self._running.get((org_id, pin))
        if flight is None:
            now = time.time()
            task = asyncio.create_task(self._look_up(org_id, pin, now), name=f"look up {pin}"[:100])
            flight = self._running[org_id, pin] = Flight(now, task)
        return flight.task

    async def _look_up(self, org_id: str, pin: Pinned, asked: float) -> None:
        said = None
        try:
            said = self._told(org_id, pin, await self._is_gone(org_id, pin), asked)
        finally:
            # A change may have made this answer worthless meanwhile.
            flight = self._running.get((org_id, pin))
            if flight is not None and flight.task is asyncio.current_task():
                del self._running[org_id, pin]
                if said is not None:
                    self._remember(org_id, pin, said)

    def _told(self, org_id: str, pin: Pinned, gone: bool | None, asked: float) -> Said:
        before = self._last(org_id, pin)
        if gone is None:
            gone, believed = before is not None and before.gone, self._soon_seconds
        else:
            believed = self._soon_seconds if gone else self._fresh_seconds
        return Said(gone, asked, time.time() + believed)

    async def _is_gone(self, org_id: str, pin: Pinned) -> bool | None:
        """Whether the provider has it no more; None where it does not tell, which is no reason to doubt it."""
        async with self._room[org_id]:
            try:
                await self._catalogue_of(org_id).get(org_id, *pin, or_copy=False)
            except Refused as refused:
                return True if refused.status == 404 else None
            except (ProviderDown, Retry):
                return None
        return False

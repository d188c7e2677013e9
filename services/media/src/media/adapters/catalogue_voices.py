"""The port `CatalogueVoices`: asked of the service resources, and remembered for a moment."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.events.resource_replies import Resource, VoicePage, VoiceReply
from common.events.resources import (
    RESOURCE_GET_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    ResourceGetRequested,
    ResourceListRequested,
)
from common.failures import Refused
from common.kernel.single_flight import SingleFlight
from media.speech_ports import Voice, slug

ASK_SECONDS = 2.0
# While resources does not answer it is asked again this often: built-in voices are not to wait for it each time.
AWAY_SECONDS = 5.0
# A voice that was made or taken away is known this much later.
FRESH_SECONDS = 15.0
# While resources is away, what was known goes on to be used.
STALE_SECONDS = 600.0
MAX_KNOWN = 10_000
PAGE_SIZE = 100
# More voices than this are not listed; each can be named all the same.
MAX_PAGES = 10
WHO = {"key_id": "media", "user_id": "media"}
STAND_IN = {"openai": "alloy", "local": "heart"}


class ResourceVoices:
    """The voices of organisations, by the catalogue that each has chosen."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._away_until = 0.0
        self._known: OrderedDict[tuple[str, str], tuple[float, Voice | None]] = OrderedDict()
        self._flights: SingleFlight[tuple[str, str], Voice | None] = SingleFlight("find voice")

    async def find(self, org_id: str, wanted: str) -> Voice | None:
        """The voice with this id or name. Raises Refused 503 where that is not to be known."""
        key = org_id, wanted
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            if now < self._away_until:
                raise TimeoutError
            voice = await self._flights.run(key, lambda: self._look(org_id, wanted))
        except (TimeoutError, BusUnavailableError):
            self._away_until = max(self._away_until, now + AWAY_SECONDS)
            if known is not None and now - known[0] < STALE_SECONDS:
                return known[1]
            raise _away() from None
        self._known[key] = time.monotonic(), voice
        self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return voice

    async def _look(self, org_id: str, wanted: str) -> Voice | None:
        """By its id, else by its name."""
        try:
            got = await self._requester.ask(
                RESOURCE_GET_REQUESTED,
                ResourceGetRequested(org_id=org_id, **WHO, kind="voice", id=wanted),
                timeout=ASK_SECONDS,
            )
            return _voice(cast(VoiceReply, got.body.root).voice)
        except Refused as refused:
            # Names are no ids, which some catalogues say by a 400.
            if refused.status not in (400, 404):
                raise
        return next((each for each in await self._page(org_id, wanted, 0) if slug(each.name) == slug(wanted)), None)

    async def all(self, org_id: str) -> Sequence[Voice]:
        """All of them. Raises Refused."""
        found = list[Voice]()
        try:
            for number in range(MAX_PAGES):
                page = await self._page(org_id, None, number)
                found += page
                if len(page) < PAGE_SIZE:
                    break
        except (TimeoutError, BusUnavailableError):
            raise _away() from None
        return found

    async def _page(self, org_id: str, name: str | None, number: int) -> list[Voice]:
        asked = ResourceListRequested(
            org_id=org_id, **WHO, kind="voice", name=name, page_number=number, page_size=PAGE_SIZE
        )
        reply = await self._requester.ask(RESOURCE_LIST_REQUESTED, asked, timeout=ASK_SECONDS)
        return [_voice(each) for each in cast(VoicePage, reply.body.root).voices]


def _away() -> Refused:
    message = "The catalogue of voices does not answer."
    return Refused(503, message, "unavailable", "voice", type="server_error", headers={"retry-after": "1"})


def _voice(resource: Resource) -> Voice:
    """A voice of the catalogue: Hume knows it by its name, and others have one in its place."""
    extra: Mapping[str, Any] = resource.model_extra or {}
    return Voice(
        id=resource.id,
        name=resource.name,
        names={"hume": resource.name, **STAND_IN},
        library=str(extra.get("provider") or "CUSTOM_VOICE"),
        description=str(extra.get("description") or ""),
        source="catalogue",
    )

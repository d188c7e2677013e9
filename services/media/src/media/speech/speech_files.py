"""Speech as an asset: the same request gets the same file, as long as there is one."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.speech import SPEECH_KIND, SpeechFile, SpeechFileRequested
from common.failures import Refused
from common.kernel.single_flight import SingleFlight
from media.assets.asset_store import Assets
from media.ports import Origin
from media.speech.answering import Speech, tell
from media.speech.speaking import Spoken
from media.speech.speech_order import Order
from media.speech_ports import KeptSpeech

# A file that goes sooner than this is made anew.
LEAST_LEFT = timedelta(days=1)
FILE = "file-"


class SpeechFiles:
    """Makes files, each once however many ask for it."""

    def __init__(self, speech: Speech, kept: KeptSpeech, assets: Assets, scratch: Path) -> None:
        self._speech = speech
        self._kept = kept
        self._assets = assets
        self._scratch = scratch
        self._flights: SingleFlight[tuple[str, str], tuple[str, Spoken]] = SingleFlight("speak file")

    async def answer(self, event: Event[SpeechFileRequested]) -> Reply[SpeechFile]:
        """The speech as an asset. Raises Refused."""
        request, speech, began = event.payload, self._speech, time.time()
        spoken, order = Spoken(), None
        try:
            until = event.deadline or began + speech.seconds
            order = await speech.order(request.org_id, request.speech, until)
            asset_id = await self._asset(order, spoken)
        except Refused as refused:
            await tell(speech, request, spoken, order, None, refused, began=began)
            raise
        await tell(speech, request, spoken, order, None, None, began=began)
        headers = speech.headers(order, spoken)
        del headers["content-type"]
        return Reply(shown(request.request_id, asset_id, order, spoken), headers=headers)

    async def _asset(self, order: Order, spoken: Spoken) -> str:
        """The asset of an order, made unless it is there; `spoken` says what that took."""
        ours = False

        async def make() -> tuple[str, Spoken]:
            nonlocal ours
            ours = True
            return await self._made(order)

        asset_id, made = await self._flights.run((order.org_id, order.whole_key()), make)
        spoken.provider, spoken.audio_seconds, spoken.size = made.provider, made.audio_seconds, made.size
        spoken.cached, spoken.done = made.cached or not ours, made.done
        if ours:
            spoken.trail = made.trail
        return asset_id

    async def _made(self, order: Order) -> tuple[str, Spoken]:
        spoken = Spoken()
        known = await self._known(order, spoken)
        if known is not None:
            return known, spoken
        data = await self._speech.speaking.whole(order, spoken)
        asset_id = await self._stored(order, data)
        await self._remember(order, spoken, asset_id)
        return asset_id, spoken

    async def _stored(self, order: Order, data: bytes) -> str:
        """A file by way of a scratch one, which is swept with all others where this process dies."""
        name = f"speech.{order.format.extension}"
        path = self._scratch / f"{uuid.uuid4().hex}-{name}"
        try:
            await asyncio.to_thread(_write, path, data)
            asset = await self._assets.store_file(order.org_id, path, origin=Origin("", SPEECH_KIND), name=name)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return asset.id

    async def _remember(self, order: Order, spoken: Spoken, asset_id: str) -> None:
        """The next who asks for the same gets this asset, unless another voice had to step in."""
        if spoken.provider == order.providers[0].name:
            about = {"asset_id": asset_id, "size": spoken.size, "provider": spoken.provider}
            about["seconds"] = spoken.audio_seconds
            await self._kept.keep(order.org_id, FILE + order.whole_key(), about, b"")

    async def _known(self, order: Order, spoken: Spoken) -> str | None:
        """The asset that the same request got before, if it is there for a while longer."""
        found = await self._kept.find(order.org_id, FILE + order.whole_key())
        if found is None:
            return None
        about: Any = found.about
        try:
            asset = await self._assets.get(order.org_id, about["asset_id"])
        except Refused:
            return None
        if asset.expires_at is not None and asset.expires_at < datetime.now(UTC) + LEAST_LEFT:
            return None
        spoken.cached, spoken.provider, spoken.audio_seconds = True, about["provider"], float(about["seconds"])
        spoken.size, spoken.done = int(about["size"]), len(order.segments)
        return str(about["asset_id"])

    async def close(self) -> None:
        """End what is in flight."""
        await self._flights.close()


def shown(id: str, asset_id: str, order: Order, spoken: Spoken) -> SpeechFile:
    """The asset as its caller sees it."""
    format: Any = order.format.name
    return SpeechFile(
        id=id,
        object="speech",
        asset_id=asset_id,
        url=f"/v1/assets/{asset_id}",
        content_type=order.format.content_type,
        format=format,
        voice=order.voice.id,
        provider=spoken.provider,
        duration_seconds=round(spoken.audio_seconds, 3),
        size=spoken.size,
        cached=spoken.cached,
        cost_usd=spoken.trail.cost_usd,
        attempts=tuple(spoken.trail.attempts),
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

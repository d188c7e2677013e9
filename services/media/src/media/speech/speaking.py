"""The use case: an order becomes bytes, piece by piece while they are made, or whole."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from common.kernel.single_flight import SingleFlight
from common.kernel.tasks import end
from media.audio_formats import WAV_HEADER_BYTES, wav_header
from media.speech.speech_order import Order
from media.speech.synthesis import Synthesis, Trail
from media.speech_ports import KeptSpeech, Sound, SoundWorks

# Pieces of one answer that are made at the same time, the one that is waited for among them.
AHEAD = 4
# A whole answer larger than this is not kept: its pieces are.
MAX_KEPT_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Spoken:
    """How far an answer is: what its pieces took, what it is so far."""

    trail: Trail = field(default_factory=Trail)
    provider: str | None = None
    cached: bool = False
    audio_seconds: float = 0.0
    size: int = 0
    # The first bytes are all of them.
    whole: bool = False
    done: int = 0  # pieces


class Speaking:
    """Speaks orders."""

    def __init__(self, synthesis: Synthesis, kept: KeptSpeech, works: SoundWorks) -> None:
        self._synthesis = synthesis
        self._kept = kept
        self._works = works
        self._short: SingleFlight[tuple[str, str], tuple[bytes, Spoken]] = SingleFlight("speak whole")

    async def pieces(self, order: Order, spoken: Spoken) -> AsyncGenerator[bytes, None]:
        """The bytes of an order, as they are made; `spoken` follows what becomes of it. Raises Refused."""
        if (data := await self._kept_whole(order, spoken)) is not None:
            yield data
        elif len(order.segments) == 1:
            data = await self._short_one(order, spoken)
            yield data
        else:
            async with aclosing(self._streamed(order, spoken)) as streamed:
                async for data in streamed:
                    yield data

    async def whole(self, order: Order, spoken: Spoken) -> bytes:
        """All bytes of an order at once, with a header that knows how long they are. Raises Refused."""
        if (data := await self._kept_whole(order, spoken)) is not None:
            return data
        if len(order.segments) == 1:
            return await self._short_one(order, spoken)
        async with aclosing(self._written(order, spoken, whole=True)) as written:
            data = b"".join([each async for each in written])
        spoken.size = len(data)
        await self._keep(order, spoken, data)
        return data

    async def close(self) -> None:
        """End what is in flight."""
        await self._short.close()

    # -- what is kept ----------------------------------------------------------------------------------------------

    async def _kept_whole(self, order: Order, spoken: Spoken) -> bytes | None:
        found = await self._kept.find(order.org_id, order.whole_key())
        if found is None:
            return None
        spoken.cached, spoken.provider = True, found.about.get("provider")
        spoken.audio_seconds, spoken.size = float(found.about["seconds"]), len(found.data)
        spoken.whole, spoken.done = True, len(order.segments)
        return found.data

    async def _keep(self, order: Order, spoken: Spoken, data: bytes) -> None:
        """Keep a whole answer, unless somebody else's voice had to step in: the right one may be back soon."""
        if len(data) <= MAX_KEPT_BYTES and spoken.provider == order.providers[0].name:
            about = {"provider": spoken.provider, "seconds": spoken.audio_seconds}
            await self._kept.keep(order.org_id, order.whole_key(), about, data)

    # -- what is made ----------------------------------------------------------------------------------------------

    async def _short_one(self, order: Order, spoken: Spoken) -> bytes:
        """An answer of one piece: many who ask at once wait for one that is made."""
        ours = False

        async def make() -> tuple[bytes, Spoken]:
            nonlocal ours
            ours = True
            made = Spoken()
            async with aclosing(self._written(order, made, whole=True)) as written:
                data = b"".join([each async for each in written])
            made.size = len(data)
            await self._keep(order, made, data)
            return data, made

        data, made = await self._short.run((order.org_id, order.whole_key()), make)
        spoken.provider, spoken.audio_seconds, spoken.size = made.provider, made.audio_seconds, len(data)
        spoken.whole, spoken.done = True, 1
        if ours:
            spoken.trail = made.trail
        else:
            spoken.trail.cached = 1
        return data

    async def _streamed(self, order: Order, spoken: Spoken) -> AsyncGenerator[bytes, None]:
        held: list[bytes] | None = []
        async with aclosing(self._written(order, spoken, whole=False)) as written:
            async for data in written:
                spoken.size += len(data)
                if held is not None:
                    held = None if spoken.size > MAX_KEPT_BYTES else [*held, data]
                yield data
        if held is not None:
            await self._keep(order, spoken, _with_its_length(order, b"".join(held)))

    async def _written(self, order: Order, spoken: Spoken, *, whole: bool) -> AsyncGenerator[bytes, None]:
        async with (
            aclosing(self._sounds(order, spoken)) as sounds,
            self._works.open(order.org_id, order.format.name, order.rate, whole=whole) as stream,
        ):
            index = 0
            async for sound in sounds:
                spoken.provider = spoken.provider or sound.provider
                tempo, pause = order.speed / sound.speed, order.segments[index].pause / order.speed
                if data := await stream.feed(sound, pause, tempo):
                    yield data
                spoken.audio_seconds = stream.seconds
                index += 1
                spoken.done = index
            data = await stream.finish()
            spoken.audio_seconds = stream.seconds
            if data:
                yield data

    async def _sounds(self, order: Order, spoken: Spoken) -> AsyncGenerator[Sound, None]:
        """The pieces in their order; a few of them are made ahead of the one that is waited for."""
        making: dict[int, asyncio.Task[Sound]] = {}
        count = len(order.segments)
        begun = 0
        try:
            for index in range(count):
                while begun < min(count, index + AHEAD):
                    work = self._synthesis.spoken(order, begun, spoken.trail)
                    making[begun] = asyncio.create_task(work, name=f"speak {begun}")
                    begun += 1
                yield await making[index]
                del making[index]
        finally:
            await end(*making.values())
            for task in making.values():
                if not task.cancelled():
                    # Looked at, so that no failure counts as overlooked.
                    task.exception()


def _with_its_length(order: Order, data: bytes) -> bytes:
    """A file whose header was written before its length was known, with it."""
    if order.format.name != "wav":
        return data
    samples = data[WAV_HEADER_BYTES:]
    return wav_header(order.rate, len(samples)) + samples

"""One piece of a text, spoken: kept from before, on its way for somebody else, or by the first provider that can."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from common.events.speech import SpeechAttempt
from common.failures import ProviderDown, Refused
from common.kernel.answers import provider_refusal
from common.kernel.single_flight import SingleFlight
from media.speech.speech_order import Order
from media.speech_ports import NO_VOICE, Kept, KeptSpeech, Leases, Sound, SpeechProvider, Utterance

log = structlog.get_logger(__name__)

# How often a process that waits for another one's call looks whether it is there.
LOOK_SECONDS = 0.1
# More of the trail than this says nothing new.
MAX_ATTEMPTS = 200


@dataclass(slots=True)
class Trail:
    """What became of the calls of one answer, and which of its providers is asked from now on."""

    attempts: list[SpeechAttempt] = field(default_factory=list)
    cached: int = 0
    provider: int = 0  # the first that has not failed this answer

    @property
    def cost_usd(self) -> float:
        return sum(each.cost_usd for each in self.attempts)

    def add(self, attempt: SpeechAttempt) -> None:
        """Note a call."""
        if len(self.attempts) < MAX_ATTEMPTS:
            self.attempts.append(attempt)

    def moved(self, on: int) -> None:
        """A provider failed: nobody asks it, or one before it, again for this answer."""
        self.provider = max(self.provider, on)


class Synthesis:
    """Speaks pieces. What was made once is never paid for again, however many ask for it, in however many processes."""

    def __init__(self, kept: KeptSpeech, leases: Leases) -> None:
        self._kept = kept
        self._leases = leases
        self._flights: SingleFlight[tuple[str, str], Sound] = SingleFlight("speak")

    async def spoken(self, order: Order, index: int, trail: Trail) -> Sound:
        """A piece of an order, by the provider at hand or one behind it.

        Raises Refused where the piece itself is at fault, or when the last provider has failed.
        """
        failure: ProviderDown | Refused = ProviderDown("No provider is left that could speak.")
        for number, provider in enumerate(order.providers):
            if number < trail.provider:
                continue
            try:
                return await self._by(order, index, provider, trail)
            except (ProviderDown, Refused) as error:
                if isinstance(error, Refused) and error.code != NO_VOICE:
                    raise
                failure = error
                trail.moved(number + 1)
        raise provider_refusal(failure) if isinstance(failure, ProviderDown) else failure

    async def _by(self, order: Order, index: int, provider: SpeechProvider, trail: Trail) -> Sound:
        key = order.segment_key(index, provider)
        ours = False

        async def make() -> Sound:
            nonlocal ours
            ours = True
            return await self._made(order, index, provider, trail)

        # Whoever leaves does not end it: it is paid for, and will be asked for again.
        sound = await self._flights.run((order.org_id, key), make)
        trail.cached += not ours
        return sound

    async def _made(self, order: Order, index: int, provider: SpeechProvider, trail: Trail) -> Sound:
        key = order.segment_key(index, provider)
        while True:
            if (found := await self._kept.find(order.org_id, key)) is not None:
                trail.cached += 1
                return _sound(found, provider, order)
            async with self._leases.hold(f"{order.org_id}/{key}") as held:
                if held:
                    # Whoever held it before us may just have finished.
                    if (found := await self._kept.find(order.org_id, key)) is not None:
                        trail.cached += 1
                        return _sound(found, provider, order)
                    return await self._asked(order, index, provider, trail)
            if time.time() > order.until:
                raise ProviderDown("Another instance is speaking this, and did not finish in time.")
            await asyncio.sleep(LOOK_SECONDS)

    async def _asked(self, order: Order, index: int, provider: SpeechProvider, trail: Trail) -> Sound:
        """Have it spoken, and keep it before anybody hears it."""
        text = order.segments[index].text
        utterance = Utterance(
            order.org_id, text, order.voice, order.description, order.provider_speed(provider), order.until
        )
        began = time.time()
        try:
            sound = await provider.speak(utterance)
        except (Refused, ProviderDown) as error:
            trail.add(_failed(provider.name, index, began, error))
            raise
        trail.add(
            SpeechAttempt(
                provider=provider.name,
                segment=index,
                outcome="done",
                characters=len(text),
                cost_usd=sound.cost_usd,
                reference=sound.reference,
                started_at=began,
                duration_ms=(time.time() - began) * 1000,
            )
        )
        about = {"rate": sound.rate, "cost_usd": sound.cost_usd, "reference": sound.reference}
        await self._kept.keep(order.org_id, order.segment_key(index, provider), about, sound.samples)
        return sound

    async def close(self) -> None:
        """End what is in flight."""
        await self._flights.close()


def _sound(kept: Kept, provider: SpeechProvider, order: Order) -> Sound:
    speed = order.provider_speed(provider)
    return Sound(kept.data, int(kept.about["rate"]), provider.name, speed, 0.0, kept.about.get("reference"))


def _failed(provider: str, index: int, began: float, error: Refused | ProviderDown) -> SpeechAttempt:
    return SpeechAttempt(
        provider=provider,
        segment=index,
        outcome="refused" if isinstance(error, Refused) else "failed",
        status=error.status,
        error=error.message[:300],
        started_at=began,
        duration_ms=(time.time() - began) * 1000,
    )


def providers_of(attempts: Sequence[SpeechAttempt]) -> list[str]:
    """Who was asked, each once, in order."""
    return list(dict.fromkeys(each.provider for each in attempts))

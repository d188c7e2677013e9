"""What is said in a film: each sentence spoken by itself, so that it is known when it begins and ends."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from common.events.creations import CreationInput, Script
from common.events.speech import SpeechAttempt, SpeechInput
from common.failures import ProviderDown, Refused
from common.jobs.work import Work
from media.creator.film_wishes import SpokenLine
from media.creator.together import together
from media.deps import Deps
from media.speech.segments import sentences, speaks
from media.speech.speaking import Spoken

AT_ONCE = 4
RATE = 24_000
OPERATION = "speech"


class _Line(BaseModel):
    """Who spoke a sentence when it was spoken first, as the job remembers it."""

    provider: str
    asked_first: str
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Narration:
    """The lines of all scenes, who spoke them, who was asked first, and what they cost."""

    lines: list[SpokenLine]
    providers: list[str]
    asked_first: str
    cost_usd: float


async def narrated(work: Work[CreationInput, Deps], script: Script, told: Callable[[float], None]) -> Narration:
    """Speak a script. What was spoken before a crash is kept, so that nothing is paid for again. Raises Refused."""
    folder, places, done = await work.folder(), asyncio.Semaphore(AT_ONCE), 0
    said = [(scene, text) for scene, each in enumerate(script.scenes) for text in sentences(each.say) if speaks(text)]
    if not said:
        raise Refused(422, "There is nothing in the script that can be said.", "nothing_to_say", "prompt")

    async def speak(number: int, scene: int, text: str) -> tuple[SpokenLine, _Line]:
        nonlocal done
        path = folder / f"line-{number}.wav"
        async with places:
            spoken = await _spoken(work, number, text, path)
        done += 1
        told(done / len(said))
        return SpokenLine(scene, text, path), spoken

    made = await together(*(speak(number, *each) for number, each in enumerate(said)))
    return Narration(
        lines=[line for line, _ in made],
        providers=list(dict.fromkeys(spoken.provider for _, spoken in made)),
        asked_first=made[0][1].asked_first,
        cost_usd=sum(spoken.cost_usd for _, spoken in made),
    )


async def _spoken(work: Work[CreationInput, Deps], number: int, text: str, path: Path) -> _Line:
    """Write one sentence as WAV."""
    speech, wanted = work.deps.speech, work.input
    asked = SpeechInput(
        text=text,
        voice=wanted.voice,
        description=wanted.instructions,
        format="wav",
        sample_rate=RATE,
        provider=wanted.voice_provider,
    )
    order, spoken = await speech.order(work.job.org_id, asked, time.time() + work.left()), Spoken()
    try:
        data = await speech.speaking.whole(order, spoken)
    finally:
        for each in spoken.trail.attempts:
            await _note(work, each)
    await asyncio.to_thread(path.write_bytes, data)
    first = order.providers[0].name
    line = _Line(provider=spoken.provider or first, asked_first=first, cost_usd=spoken.trail.cost_usd)
    return _Line.model_validate(await _remembered(work, f"line-{number}", line))


async def _remembered(work: Work[CreationInput, Deps], key: str, line: _Line) -> Any:
    """What was remembered of the first time, or this time where there was none: a repetition costs nothing."""
    known = await work.recall(key)
    if known is None:
        known = line.model_dump(mode="json")
        await work.remember(key, known)
    return known


async def _note(work: Work[CreationInput, Deps], call: SpeechAttempt) -> None:
    """A call in the trail of the job."""
    with contextlib.suppress(ProviderDown):
        async with work.attempt(call.provider, OPERATION) as attempt:
            attempt.cost_usd, attempt.reference = call.cost_usd, call.reference
            if call.outcome != "done":
                raise ProviderDown(call.error or call.outcome, status=call.status)

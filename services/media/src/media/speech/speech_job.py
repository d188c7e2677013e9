"""The job that speaks a long text."""

import asyncio
import contextlib
import time
from contextlib import aclosing
from pathlib import Path

from common.events.speech import SPEECH_KIND, SpeechAttempt, SpeechFile, SpeechInput
from common.failures import ProviderDown
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from media.audio_formats import WAV_HEADER_BYTES, wav_header
from media.deps import Deps
from media.metrics import CONTENT_PROCESSED
from media.ports import Origin
from media.speech.speaking import Spoken
from media.speech.speech_files import shown
from media.speech.speech_order import Order

SPEECH = JobSpec(
    kind=SPEECH_KIND,
    input=SpeechInput,
    result=SpeechFile,
    steps=("speak", "store"),
    summary="Speak a text.",
    concurrency=16,
    deadline_seconds=3600.0,
)
SPOKEN_PERCENT = 95.0
OPERATION = "speech"


async def make(work: Work[SpeechInput, Deps]) -> SpeechFile:
    """Speak a text into an asset. Pieces that were spoken before a crash are kept, so that no one is paid for again."""
    speech = work.deps.speech
    until = time.time() + work.left()
    order = await speech.order(work.job.org_id, work.input, until)
    spoken = Spoken()
    path = await work.folder() / f"speech.{order.format.extension}"
    async with work.step("speak"):
        try:
            await _write(work, order, spoken, path)
        finally:
            await _note_calls(work, spoken)
    async with work.step("store"):
        asset = await work.deps.assets.store_file(
            work.job.org_id,
            path,
            origin=Origin(work.job.id, SPEECH_KIND),
            name=f"speech.{order.format.extension}",
            asset_id=work.asset_id("speech"),
        )
    CONTENT_PROCESSED.labels(SPEECH_KIND, spoken.provider or "none").inc()
    return shown(work.job.id, asset.id, order, spoken)


async def _write(work: Work[SpeechInput, Deps], order: Order, spoken: Spoken, path: Path) -> None:
    """The file, as its pieces come; its header says how long it is."""
    speaking = work.deps.speech.speaking
    with await asyncio.to_thread(path.open, "wb") as file:
        async with aclosing(speaking.pieces(order, spoken)) as pieces:
            async for data in pieces:
                await asyncio.to_thread(file.write, data)
                work.percent(SPOKEN_PERCENT * spoken.done / len(order.segments))
        if order.format.name == "wav":
            file.seek(0)
            file.write(wav_header(order.rate, spoken.size - WAV_HEADER_BYTES))


async def _note_calls(work: Work[SpeechInput, Deps], spoken: Spoken) -> None:
    """The calls to providers, in the trail of the job."""
    for each in spoken.trail.attempts:
        with contextlib.suppress(ProviderDown):
            async with work.attempt(each.provider, OPERATION) as attempt:
                attempt.cost_usd, attempt.reference = each.cost_usd, each.reference
                _raise(each)


def _raise(attempt: SpeechAttempt) -> None:
    if attempt.outcome != "done":
        raise ProviderDown(attempt.error or attempt.outcome, status=attempt.status)

"""Requests for speech: streamed to a client, or made into an asset; each ends with one fact."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog

from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError, Log
from common.bus.request_reply import refusal_to
from common.events.chat import AnswerEnd, AnswerError, ReplyError
from common.events.envelope import Event
from common.events.spec import EventSpec
from common.events.speech import (
    SPEECH_COMPLETED,
    SPEECH_FAILED,
    SPEECH_INTERRUPTED,
    SPEECH_KIND,
    SpeechCompleted,
    SpeechCost,
    SpeechFailed,
    SpeechInput,
    SpeechInterrupted,
    SpeechRequested,
)
from common.failures import Refused
from common.kernel.tasks import end
from media.metrics import CONTENT_PROCESSED, SPEECH_CHARACTERS, SPEECH_ENDS, SPEECH_FIRST_BYTE
from media.speech.frame_outlet import FrameOutlet
from media.speech.running_speech import RunningSpeech
from media.speech.speaking import Speaking, Spoken
from media.speech.speech_claims import SpeechClaim, SpeechClaims
from media.speech.speech_order import Order, order_of
from media.speech.voice_choice import Voices
from media.speech_ports import Gone, SpeechProvider

log = structlog.get_logger(__name__)

LOST = Refused(
    502,
    "The speech broke off: the instance that spoke it ended. Ask again: what was made is kept.",
    "broken_off",
    type="server_error",
)
BUSY = Refused(
    503,
    "Too much is being spoken at the moment: come back in a moment.",
    "busy",
    type="server_error",
    headers={"retry-after": "1"},
)


@dataclass(frozen=True, slots=True)
class Speech:
    """What speaking works with."""

    log: Log
    live: LiveWriter
    voices: Voices
    providers: tuple[SpeechProvider, ...]
    speaking: Speaking
    running: RunningSpeech
    claims: SpeechClaims
    # How long an answer may take from its request on, in seconds.
    seconds: float

    async def order(self, org_id: str, asked: SpeechInput, until: float) -> Order:
        """What is asked for, understood. Raises Refused."""
        voice = await self.voices.chosen(org_id, asked.voice)
        return order_of(org_id, asked, voice, self.providers, until)

    def headers(self, order: Order, spoken: Spoken) -> dict[str, str]:
        """What the client is told of who spoke."""
        provider = next((each for each in order.providers if each.name == spoken.provider), None)
        headers = {"content-type": order.format.content_type, "x-sonant-cache": "hit" if spoken.cached else "miss"}
        if spoken.provider is not None:
            headers["x-sonant-voice-provider"] = spoken.provider
        if provider is not None and provider.sandbox:
            headers["x-sonant-provider"] = "sandbox"
        return headers


async def stream(event: Event[SpeechRequested], speech: Speech, *, refused: Refused | None = None) -> None:
    """Speak to the client that waits at the gateway; one that is `refused` is told so."""
    request = event.payload
    claim = await speech.claims.claim(request.request_id)
    if claim is SpeechClaim.TAKEN or event.reply_to is None:
        return
    if claim is SpeechClaim.LOST:
        speech.live.send(event.reply_to, refusal_to(request.request_id, LOST))
        await tell(speech, request, Spoken(), None, None, LOST)
        return
    outlet = FrameOutlet(
        request.request_id, event.reply_to, speech.live, lambda: speech.claims.note_begun(request.request_id)
    )
    if (reason := speech.running.stopped_early(request.request_id)) is not None:
        outlet.stop(reason)
        await tell(speech, request, Spoken(), None, outlet, None)
        return
    answer = asyncio.create_task(_answer(request, speech, outlet, refused), name=f"speak {request.request_id}")
    with speech.running.running(outlet, answer):
        try:
            await asyncio.wait({answer})
        finally:
            await end(answer)
    if not answer.cancelled():
        answer.result()


async def _answer(request: SpeechRequested, speech: Speech, outlet: FrameOutlet, refused: Refused | None) -> None:
    """The life of an answer: however it ends, the client is told, and one fact says how."""
    spoken, order, failure = Spoken(), None, refused
    until = request.received_at + speech.seconds
    began = time.time()
    try:
        if refused is None:
            async with asyncio.timeout(max(0.0, until - began)):
                order = await speech.order(request.org_id, request.speech, until)
                await _hand_over(speech, order, spoken, outlet)
    except Refused as error:
        failure = error
    except TimeoutError:
        failure = Refused(504, "The speech was not complete before the deadline.", "timeout", type="server_error")
    except Gone as gone:
        outlet.stop(gone.reason)
    except asyncio.CancelledError:
        if outlet.stopped is None:
            # The process ends: somebody else goes on, or tells the client.
            raise
    speech.claims.note_ended(request.request_id)
    if outlet.stopped is None:
        outlet.end(_ending(failure))
    await tell(speech, request, spoken, order, outlet, failure, began=began)


async def _hand_over(speech: Speech, order: Order, spoken: Spoken, outlet: FrameOutlet) -> None:
    async with aclosing(speech.speaking.pieces(order, spoken)) as pieces:
        async for data in pieces:
            if not outlet.begun:
                headers = speech.headers(order, spoken)
                if spoken.whole:
                    headers["content-length"] = str(spoken.size)
                outlet.begin(headers, order.until)
            await outlet.write(data)
            await outlet.listened_to()
    if not outlet.begun:
        raise Refused(502, "The provider gave no sound.", "provider_unavailable", type="api_error")


def _ending(failure: Refused | None) -> AnswerEnd:
    if failure is None:
        return AnswerEnd(outcome="completed")
    after = failure.headers.get("retry-after")
    error = AnswerError(
        status=failure.status,
        message=failure.message,
        type=failure.type,
        code=failure.code,
        param=failure.param,
        retry_after=None if after is None else float(after),
    )
    return AnswerEnd(outcome="failed", error=error)


# -- facts -------------------------------------------------------------------------------------------------------------


async def tell(
    speech: Speech,
    request: SpeechRequested,
    spoken: Spoken,
    order: Order | None,
    outlet: FrameOutlet | None,
    failure: Refused | None,
    *,
    began: float | None = None,
) -> None:
    """Publish how a request ended."""
    first = None if outlet is None else outlet.first_byte_at
    fields: dict[str, Any] = {
        **_asked(request, spoken, order),
        "started_at": began or time.time(),
        "first_byte_at": first,
    }
    stopped = None if outlet is None else outlet.stopped
    if stopped is not None:
        await publish(speech.log, SPEECH_INTERRUPTED, SpeechInterrupted(**fields, reason=stopped))
    elif failure is not None:
        error = ReplyError(
            status=failure.status, message=failure.message, type=failure.type, code=failure.code, param=failure.param
        )
        await publish(speech.log, SPEECH_FAILED, SpeechFailed(**fields, error=error))
    else:
        await publish(speech.log, SPEECH_COMPLETED, SpeechCompleted(**fields))
    if first is not None:
        SPEECH_FIRST_BYTE.labels("cached" if spoken.cached else "made").observe(first - request.received_at)


def _asked(request: SpeechRequested, spoken: Spoken, order: Order | None) -> Mapping[str, Any]:
    return {
        "request_id": request.request_id,
        "org_id": request.org_id,
        "key_id": request.key_id,
        "user_id": request.user_id,
        "voice": None if order is None else order.voice.id,
        "format": request.speech.format,
        "cost": cost_of(spoken, order),
        "received_at": request.received_at,
        "finished_at": time.time(),
    }


def cost_of(spoken: Spoken, order: Order | None) -> SpeechCost:
    """What an answer took."""
    return SpeechCost(
        provider=spoken.provider,
        characters=0 if order is None else order.characters,
        segments=0 if order is None else len(order.segments),
        cached_segments=spoken.trail.cached,
        cached=spoken.cached,
        cost_usd=spoken.trail.cost_usd,
        audio_seconds=spoken.audio_seconds,
        size=spoken.size,
        attempts=tuple(spoken.trail.attempts),
    )


async def publish(to: Log, spec: EventSpec[Any], fact: Any) -> None:
    """Put a fact on the log; one that it does not take is counted and said, for the audio is with its client."""
    SPEECH_ENDS.labels(spec.type.rpartition(".")[2], fact.cost.provider or "none").inc()
    if spec is SPEECH_COMPLETED:
        CONTENT_PROCESSED.labels(SPEECH_KIND, fact.cost.provider or "none").inc()
    SPEECH_CHARACTERS.labels("cached" if fact.cost.cached else "made").inc(fact.cost.characters)
    try:
        await to.publish(Event(spec, fact, id=f"{fact.request_id}-end").record())
    except BusUnavailableError as error:
        log.error("fact about speech was not published", speech_id=fact.request_id, error=str(error))

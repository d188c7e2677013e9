"""The views of speech: bytes as OpenAI gives them, files as assets, and the voices."""

import asyncio
import secrets
import time
from typing import Any

from aiohttp import web

from common.bus.port import BusUnavailableError, UnconfirmedError, check_sizes
from common.events.envelope import Event
from common.events.media_topics import MEDIA_COMMANDS
from common.events.model_json import to_json
from common.events.speech import (
    SPEECH_FILE_REQUESTED,
    SPEECH_KIND,
    SPEECH_REQUESTED,
    SPEECH_VOICES_REQUESTED,
    SpeechFileRequested,
    SpeechInput,
    SpeechRequested,
    SpeechVoicesRequested,
)
from gateway.deps import DEPS, Deps
from gateway.http.body import read_json
from gateway.http.context import BODY_BYTES, CALLER, COMPLETION
from gateway.http.end_user import any_user
from gateway.http.errors import unavailable
from gateway.http.request_reply import answer
from gateway.http.validation import validate
from gateway.media.jobs import accept
from gateway.media.speech_bodies import OpenAiSpeechBody, SpeechBody
from gateway.media.speech_stream import SpeechWriter

# Forty thousand characters, the longest of them in four bytes and escaped, and what is beside them.
MAX_BODY_BYTES = 512 * 1024
# A short text is spoken by the slowest provider within this.
FILE_SECONDS = 60.0
# Nobody wants to begin to listen later than this.
BEGIN_SECONDS = 60.0
NOT_ACCEPTED = "The request was not accepted: the log does not answer."
UNKNOWN = (
    "It is not known whether the request was accepted: the log did not acknowledge it. "
    "It is withdrawn and will not be answered; send it again."
)


async def create_speech(request: web.Request) -> web.StreamResponse:
    """`POST /v1/audio/speech`: the bytes, streamed while they are made."""
    deps, caller = request.app[DEPS], request[CALLER]
    deps.quota.check(caller.org_id)
    body = validate(OpenAiSpeechBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    asked = _requested(request, body.to_input())
    request[COMPLETION] = asked["request_id"]
    deps.presence.require(MEDIA_COMMANDS)
    await deps.quota.take(caller.org_id, request[BODY_BYTES])
    until = asked["received_at"] + deps.settings.speech_seconds
    with deps.streams.open(
        asked["request_id"],
        caller.org_id,
        asked["request_id"],
        received_at=asked["received_at"],
        streamed=False,
        key_id=caller.key_id,
    ) as stream:
        try:
            await _publish(deps, stream, SpeechRequested(**asked))
            writer = SpeechWriter(request, deps, stream, events=body.stream_format == "sse")
            return await writer.write(until, len(body.input))
        except (asyncio.CancelledError, ConnectionError):
            deps.streams.stop(stream, "client_closed")
            raise


async def make_speech(request: web.Request) -> web.StreamResponse:
    """`POST /v1/media/speech`: an asset at once where the text is short, else a job."""
    body = validate(SpeechBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = body.to_input()
    if body.long:
        return await accept(request, SPEECH_KIND, wanted)
    deps, caller = request.app[DEPS], request[CALLER]
    # A repetition has to be equal in what was asked, not in when.
    async with deps.idempotency.guard(request, caller, to_json(wanted), lease=FILE_SECONDS) as slot:
        if slot.replay is not None:
            return slot.replay
        asked = SpeechFileRequested(**_requested(request, wanted))
        response = answer(await deps.request_reply.ask(SPEECH_FILE_REQUESTED, asked, timeout=FILE_SECONDS))
        await slot.store(response)
        return response


async def list_speech_voices(request: web.Request) -> web.Response:
    """`GET /v1/media/voices`."""
    wanted = SpeechVoicesRequested(org_id=request[CALLER].org_id)
    return await request.app[DEPS].request_reply.query(SPEECH_VOICES_REQUESTED, wanted)


def _requested(request: web.Request, wanted: SpeechInput) -> dict[str, Any]:
    caller = request[CALLER]
    return {
        "request_id": f"speech-{secrets.token_hex(16)}",
        "org_id": caller.org_id,
        "key_id": caller.key_id,
        "user_id": any_user(request),
        "received_at": time.time(),
        "speech": wanted,
    }


async def _publish(deps: Deps, stream: Any, asked: SpeechRequested) -> None:
    """Put the request on the log. Raises Refused 503 where that does not take it."""
    event = Event(
        SPEECH_REQUESTED,
        asked,
        id=asked.request_id,
        deadline=asked.received_at + BEGIN_SECONDS,
        reply_to=deps.streams.mailbox,
        request_id=asked.request_id,
    )
    record = event.record()
    check_sizes([record])
    try:
        await deps.log.publish(record)
    except BusUnavailableError as error:
        if await stream.waiter.arrived(0):
            return
        deps.streams.stop(stream, "client_closed", withdrawn=True)
        raise unavailable(UNKNOWN if isinstance(error, UnconfirmedError) else NOT_ACCEPTED) from error

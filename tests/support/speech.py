"""Somebody who listens to speech as a gateway does: frames of one request, read as fast as a test wants."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.waiter import Waiter
from common.bus.live.writer import LiveWriter, open_writer
from common.events.chat import ANSWER_READ, ANSWER_STOP, AnswerRead, AnswerStop
from common.events.envelope import Event
from common.events.media_topics import MEDIA_EVENTS
from common.events.speech import (
    SPEECH_COMPLETED,
    SPEECH_FAILED,
    SPEECH_FILE_REQUESTED,
    SPEECH_INTERRUPTED,
    SPEECH_REQUESTED,
    SpeechFileRequested,
    SpeechInput,
    SpeechRequested,
    VoiceChoice,
)
from tests.support.mailbox import open_mailbox
from tests.support.service import FakeGateway, World
from tests.support.waiting import eventually

ENDS = (SPEECH_COMPLETED.name, SPEECH_FAILED.name, SPEECH_INTERRUPTED.name)
HEAR_SECONDS = 40.0
LAST = (FrameKind.END, FrameKind.REPLY)


def told(sentences: int, about: str = "") -> str:
    """A text of many pieces, none of which was ever said before."""
    about = about or uuid.uuid4().hex[:8]
    filler = "and it goes on for long enough to be a piece of its own, with a good many words in it that say little"
    return " ".join(f"Chapter {number} of {about} begins here, {filler}, {filler}." for number in range(sentences))


@dataclass
class Heard:
    """What has come of one answer."""

    request: SpeechRequested
    waiter: Waiter
    head: dict[str, Any] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)
    end: dict[str, Any] | None = None
    marks: int = 0
    number: int = 0

    def take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.number = max(self.number, frame.number)
            if frame.kind == FrameKind.START:
                self.head = orjson.loads(frame.payload)
            elif frame.kind == FrameKind.DATA:
                self.audio += frame.payload
            elif frame.kind == FrameKind.MARK:
                self.marks += 1
            else:
                self.end = orjson.loads(frame.payload)


@dataclass(frozen=True)
class Listener(FakeGateway):
    """Asks for speech and hears it."""

    live: LiveWriter
    org_id: str = "org-1"

    def request(self, text: str, **given: Any) -> SpeechRequested:
        speech = SpeechInput(text=text, voice=VoiceChoice(name="ava_song"), **given)
        return SpeechRequested(
            request_id=f"speech-{uuid.uuid4().hex}",
            org_id=self.org_id,
            key_id="key-1",
            received_at=time.time(),
            speech=speech,
        )

    def event(self, request: SpeechRequested) -> Event[SpeechRequested]:
        return Event(
            SPEECH_REQUESTED,
            request,
            id=request.request_id,
            deadline=time.time() + 60,
            reply_to=self.reader.mailbox,
            request_id=request.request_id,
        )

    @asynccontextmanager
    async def asking(self, text: str, *, times: int = 1, **given: Any) -> AsyncIterator[Heard]:
        """A request that was published; nothing is read of its answer yet."""
        request = self.request(text, **given)
        with self.reader.waiting(request.request_id) as waiter:
            await self.world.publish(*[self.event(request)] * times)
            yield Heard(request, waiter)

    async def hear(self, heard: Heard, *, until: int | None = None, confirm: bool = True) -> Heard:
        """Read to the end, or until so many bytes of audio have come."""
        deadline = time.monotonic() + HEAR_SECONDS
        while heard.end is None and (until is None or len(heard.audio) < until):
            assert time.monotonic() < deadline, "the answer did not come"
            marks = heard.marks
            heard.take(await heard.waiter.frames(1.0))
            if confirm and heard.marks > marks:
                self.confirm(heard)
        return heard

    def confirm(self, heard: Heard) -> None:
        read = AnswerRead(request_id=heard.request.request_id, mailbox=self.reader.mailbox, number=heard.number)
        self.live.queue_signal(ANSWER_READ, read)

    def leave(self, heard: Heard) -> None:
        """The client is gone."""
        stop = AnswerStop(
            request_id=heard.request.request_id, mailbox=self.reader.mailbox, reason="client_closed", at=time.time()
        )
        self.live.queue_signal(ANSWER_STOP, stop)

    async def whole(self, text: str, **given: Any) -> Heard:
        async with self.asking(text, **given) as heard:
            return await self.hear(heard)

    async def file(self, text: str, **given: Any) -> Any:
        """The reply to a request for an asset."""
        request = SpeechFileRequested(**self.request(text, **given).model_dump())
        event = Event(SPEECH_FILE_REQUESTED, request, id=request.request_id, deadline=time.time() + 30)
        [reply] = await self.deliver(event)
        return reply

    async def fact(self, heard: Heard) -> Event[Any]:
        """The one fact about an answer, once it is there."""

        async def look() -> list[Event[Any]]:
            return [
                event
                for event in await self.world.events(MEDIA_EVENTS)
                if event.spec.name in ENDS and event.payload.request_id == heard.request.request_id
            ]

        await eventually(look, timeout=HEAR_SECONDS)
        [fact] = await look()
        return fact


@asynccontextmanager
async def listener_on(world: World, instance: str | None = None) -> AsyncIterator[Listener]:
    """Somebody who listens, with a mailbox and a way to signal."""
    async with open_mailbox(world.redis_url, instance) as reader, open_writer(world.redis_url) as live:
        yield Listener(world, reader, live)


@dataclass(frozen=True)
class Studio:
    """The stand-ins of a test: how they fare, and what they charged."""

    url: str
    http: aiohttp.ClientSession

    @property
    def settings(self) -> dict[str, str]:
        return {"SONANT_SANDBOX_URL": self.url}

    async def hume_does(self, *faults: dict[str, Any]) -> None:
        """Faults of the account that speaks, in the order in which they match; none lets it be well again."""
        async with self.http.put("/sandbox/hume/accounts/sandbox", json={"faults": list(faults)}) as answer:
            assert answer.status == 200, await answer.text()

    async def charged(self, provider: str = "hume") -> dict[str, int]:
        async with self.http.get("/sandbox/speech/charges") as answer:
            all_of_them: dict[str, dict[str, int]] = await answer.json()
        return {"calls": 0, "characters": 0, "repeats": 0, "most_at_once": 0, **all_of_them.get(provider, {})}

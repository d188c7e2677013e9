"""Answers on their way to clients through this gateway instance, and how they are stopped or taken up again."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from common.bus.live import ENDED_PREFIX, Frame, FrameKind, LiveReader, LiveWriter, Waiter, audience_of, unpack_ended
from common.bus.port import BusUnavailableError

# While frames are missing: how often they are asked for again.
ATTACH_SECONDS = 0.25
LAST_KINDS = (FrameKind.END, FrameKind.REPLY)


@dataclass(slots=True)
class Stream:
    """One answer. `number` is the last frame written to the client, `last_byte_at` when that was."""

    request_id: str
    org_id: str
    session_id: str
    waiter: Waiter
    received_at: float
    streamed: bool = True
    number: int = 0
    last_byte_at: float | None = None
    stopped: bool = False
    displaced: bool = False
    ended: bool = False
    used_tokens: int = 0

    @property
    def audience(self) -> str:
        """Who may take this answer up."""
        return audience_of(self.org_id, stream=self.streamed)

    def note_end(self, frame: Frame) -> None:
        """Take from the last frame what the answer cost."""
        if frame.kind == FrameKind.END:
            self.used_tokens = orjson.loads(frame.payload)["usage"]["total_tokens"]

    def stop(self) -> None:
        """Write no further byte."""
        self.stopped = True
        self.waiter.wake()

    def is_stopped(self) -> bool:
        """`stopped`, which changes while its reader waits."""
        return self.stopped

    def told(self) -> dict[str, Any]:
        """What only this gateway knows: how much has left, and when."""
        return {"delivered": self.number, "last_byte_at": self.last_byte_at}


@dataclass(slots=True)
class Streams:
    """All streams of this process."""

    live: LiveWriter
    reader: LiveReader
    _open: dict[str, Stream] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(
        self,
        request_id: str,
        org_id: str,
        session_id: str,
        *,
        received_at: float,
        streamed: bool = True,
        after: int = 0,
    ) -> Iterator[Stream]:
        """Receive the frames of an answer behind number `after`; an older stream of it ends."""
        with self.reader.waiting(request_id, after=after) as waiter:
            stream = Stream(request_id, org_id, session_id, waiter, received_at, streamed, number=after)
            former = self._open.get(request_id)
            if former is not None:
                former.displaced = True
                former.stop()
            self._open[request_id] = stream
            try:
                yield stream
            finally:
                if self._open.get(request_id) is stream:
                    del self._open[request_id]

    def foreign(self, request_id: str, org_id: str) -> bool:
        """Whether this answer is read here and not for the organisation to take up: to open it would end that."""
        stream = self._open.get(request_id)
        return stream is not None and stream.audience != audience_of(org_id, stream=True)

    def __len__(self) -> int:
        return len(self._open)

    async def next(self, stream: Stream, deadline: float, pause: float) -> list[Frame] | None:
        """The frames that arrived, an empty list after `pause` seconds of silence, None when it is over.

        Over is a stream after its END or REPLY frame, or when it was stopped. Raises TimeoutError at `deadline`
        (unix seconds). Frames lost on the way are asked for again.
        """
        if stream.ended or stream.stopped:
            return None
        left = deadline - time.time()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        if stream.waiter.gap:
            await self._attach(stream)
        batch = await stream.waiter.frames(min(left, ATTACH_SECONDS if stream.waiter.gap else pause))
        if stream.is_stopped():
            return None
        stream.ended = bool(batch) and batch[-1].kind in LAST_KINDS
        return batch

    async def _attach(self, stream: Stream) -> None:
        """Ask the answering instance for what is missing, and look whether the answer is over already."""
        after = stream.waiter.last_number
        with contextlib.suppress(BusUnavailableError):
            await self.live.signal(
                "attach",
                request_id=stream.request_id,
                audience=stream.audience,
                mailbox=self.reader.mailbox,
                after=after,
            )
            stored = await self.live.command("GET", ENDED_PREFIX + stream.request_id)
            for frame in (unpack_ended(stored, stream.audience) or [])[after:]:
                stream.waiter.push(frame)

    # -- stopping -------------------------------------------------------------------------------------------

    def stop_session(self, org_id: str, session_id: str, at: float) -> dict[str, Any]:
        """Stop the streams of a session that began before `at`; returns what had left of each."""
        stopped = {}
        for stream in self._open.values():
            if (stream.org_id, stream.session_id) == (org_id, session_id) and stream.received_at <= at:
                stream.stop()
                stopped[stream.request_id] = stream.told()
        return stopped

    async def interrupt(
        self, org_id: str, session_id: str, reason: str, at: float, *, ask_id: str | None = None
    ) -> None:
        """Stop every answer of a session, wherever it runs. Raises BusUnavailableError."""
        stopped = self.stop_session(org_id, session_id, at)
        await self.live.signal(
            "interrupt",
            org_id=org_id,
            session_id=session_id,
            reason=reason,
            at=at,
            stopped=stopped,
            reply_to=self.reader.mailbox if ask_id else None,
            ask_id=ask_id,
        )

    def stop(self, stream: Stream, reason: str, *, grace: float = 0.0, withdrawn: bool = False) -> None:
        """Stop one answer; with `grace`, only if nobody takes it up within so many seconds.

        Told for certain, if late: while the live channel is away, the work for a caller who has left goes on.
        """
        if stream.displaced or stream.ended:
            return
        signal = {"reason": reason, "at": time.time(), "grace": grace, "withdrawn": withdrawn, **stream.told()}
        self.live.queue_signal("stop", request_id=stream.request_id, mailbox=self.reader.mailbox, **signal)

    async def rest(self, stream: Stream, seconds: float) -> None:
        """Await the END of a stopped stream, for the books only."""
        give_up = time.time() + seconds
        while (left := give_up - time.time()) > 0:
            for frame in await stream.waiter.frames(left):
                if frame.kind == FrameKind.END:
                    stream.note_end(frame)
                    return

    async def heard(self, stream: Stream, until: float) -> bool:
        """Whether anything of this answer turns up by `until` (unix seconds); asks for it meanwhile."""
        while time.time() < until:
            await self._attach(stream)
            if await stream.waiter.arrived(ATTACH_SECONDS):
                return True
        return False

    def on_signal(self, signal: dict[str, Any]) -> None:
        """An interruption that arrived at another gateway."""
        if signal["kind"] == "interrupt":
            self.stop_session(signal["org_id"], signal["session_id"], signal["at"])

"""Answers on their way to clients through this gateway instance, and how they are stopped or taken up again."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from common.bus.live.frames import Frame, FrameKind, repeated_head
from common.bus.live.kept_answers import ENDED_PREFIX, TURN_PREFIX, audience_of, unpack_ended
from common.bus.live.reader import LiveReader
from common.bus.live.waiter import Waiter
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.events.chat import (
    ANSWER_ATTACH,
    ANSWER_STOP,
    SESSION_INTERRUPT,
    AnswerAbandoned,
    AnswerAttach,
    AnswerEnd,
    AnswerStart,
    AnswerStop,
    Delivered,
    SessionInterrupt,
    StopReason,
)

# While frames are missing: how often they are asked for again.
ATTACH_SECONDS = 0.25
LAST_KINDS = (FrameKind.END, FrameKind.REPLY)
# How often the store is asked for the end of an answer that may be read elsewhere by now.
REST_SECONDS = 1.0
# How long a request whose client has left may wait to be taken up before it counts as never written.
TAKEN_SECONDS = 2.0


@dataclass(slots=True)
class Stream:
    """One answer. `number` is the last frame written to the client, `last_byte_at` when that was.

    `used_tokens` is what it cost, None from its request until its end.
    """

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
    used_tokens: int | None = 0

    @property
    def audience(self) -> str:
        """Who may take this answer up."""
        return audience_of(self.org_id, stream=self.streamed)

    def note_end(self, batch: list[Frame]) -> None:
        """Take from the last frame that the answer is over, and what it cost."""
        if not batch or batch[-1].kind not in LAST_KINDS:
            return
        self.ended, self.used_tokens = True, 0
        if batch[-1].kind == FrameKind.END:
            self.used_tokens = AnswerEnd.model_validate_json(batch[-1].payload).usage.total_tokens

    @property
    def head(self) -> AnswerStart | None:
        """What an answer taken up again began with; None where it has not."""
        head = self.waiter.head
        return None if head is None else AnswerStart.model_validate_json(head.payload)

    def stop(self) -> None:
        """Write no further byte."""
        self.stopped = True
        self.waiter.wake()

    def is_stopped(self) -> bool:
        """`stopped`, which changes while its reader waits."""
        return self.stopped

    def delivered(self) -> Delivered:
        """What only this gateway knows: how much has left, and when."""
        return Delivered(delivered=self.number, last_byte_at=self.last_byte_at)


@dataclass(slots=True)
class Streams:
    """All streams of this process."""

    live: LiveWriter
    # Set once it is open: its signals are ours to take.
    reader: LiveReader = field(init=False)
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
                self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """No client reads this any more: what had left of it says nothing about the answer."""
        if self._open.get(stream.request_id) is stream:
            del self._open[stream.request_id]

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
        stream.note_end(batch)
        return batch

    async def _attach(self, stream: Stream) -> None:
        """Ask the answering instance for what is missing, and look whether the answer is over already."""
        after = stream.waiter.last_number
        with contextlib.suppress(BusUnavailableError):
            attach = AnswerAttach(
                request_id=stream.request_id, audience=stream.audience, mailbox=self.reader.mailbox, after=after
            )
            await self.live.signal(ANSWER_ATTACH, attach)
            stored = await self._stored(stream)
            # Nothing of it belongs to who names a frame that was never sent.
            head = repeated_head(stored) if after < len(stored) else []
            for frame in head + stored:
                stream.waiter.push(frame)

    async def _stored(self, stream: Stream) -> list[Frame]:
        """Everything that was said, once the answer is over. Raises BusUnavailableError."""
        stored = await self.live.command("GET", ENDED_PREFIX + stream.request_id)
        return unpack_ended(stored, stream.audience) or []

    # -- stopping -------------------------------------------------------------------------------------------

    def stop_session(self, org_id: str, session_id: str, at: float) -> dict[str, Delivered]:
        """Stop the streams of a session that began before `at`; returns what had left of each."""
        stopped = {}
        for stream in self._open.values():
            if (stream.org_id, stream.session_id) == (org_id, session_id) and stream.received_at <= at:
                stream.stop()
                stopped[stream.request_id] = stream.delivered()
        return stopped

    async def interrupt(
        self, org_id: str, session_id: str, reason: StopReason, at: float, *, ask_id: str | None = None
    ) -> None:
        """Stop every answer of a session, wherever it runs. Raises BusUnavailableError."""
        stopped = self.stop_session(org_id, session_id, at)
        interrupt = SessionInterrupt(
            org_id=org_id,
            session_id=session_id,
            reason=reason,
            at=at,
            stopped=stopped,
            reply_to=self.reader.mailbox if ask_id else None,
            ask_id=ask_id,
        )
        await self.live.signal(SESSION_INTERRUPT, interrupt)

    def stop(self, stream: Stream, reason: StopReason, *, grace: float = 0.0, withdrawn: bool = False) -> None:
        """Stop one answer; with `grace`, only if nobody takes it up within so many seconds.

        Told for certain, if late: while the live channel is away, the work for a caller who has left goes on.
        """
        if stream.displaced or stream.ended:
            return
        stop = AnswerStop(
            request_id=stream.request_id,
            mailbox=self.reader.mailbox,
            reason=reason,
            at=time.time(),
            grace=grace,
            withdrawn=withdrawn,
            delivered=stream.number,
            last_byte_at=stream.last_byte_at,
        )
        self.live.queue_signal(ANSWER_STOP, stop)

    async def rest(self, stream: Stream, until: float, grace: float) -> None:
        """Await the end of an answer that nobody reads here any more, for the books only.

        At `until` (unix seconds) what it cost stays unknown. A request that nobody has taken up `grace` seconds
        after its client left, and a moment more, cost nothing: what begins now is stopped at once.
        """
        self._forget(stream)
        unused = min(until, time.time() + grace + TAKEN_SECONDS)
        while stream.used_tokens is None and (left := until - time.time()) > 0:
            batch = await stream.waiter.frames(min(left, REST_SECONDS))
            stream.note_end(batch)
            if not batch:
                # Whoever took the answer up gets its frames: only the store tells us.
                await self._look_up(stream, time.time() >= unused)

    async def _look_up(self, stream: Stream, give_up: bool) -> None:
        """Note the end of an answer that is stored; with `give_up` also that nobody has begun it."""
        with contextlib.suppress(BusUnavailableError):
            stream.note_end(await self._stored(stream))
            if give_up and not await self.live.command("EXISTS", TURN_PREFIX + stream.request_id):
                stream.used_tokens = 0

    async def heard(self, stream: Stream, until: float) -> bool:
        """Whether anything of this answer turns up by `until` (unix seconds); asks for it meanwhile."""
        while time.time() < until:
            await self._attach(stream)
            arrived = await stream.waiter.arrived(ATTACH_SECONDS)
            if head := stream.head:
                stream.session_id = head.session_id
            if arrived or head:
                return True
        return False

    def on_interrupt(self, interrupt: SessionInterrupt) -> None:
        """An interruption that arrived at another gateway."""
        self.stop_session(interrupt.org_id, interrupt.session_id, interrupt.at)

    def on_abandoned(self, abandoned: AnswerAbandoned) -> None:
        """The answerer of an answer died: how it ended is to be asked for."""
        if (stream := self._open.get(abandoned.request_id)) is not None:
            stream.waiter.lost()

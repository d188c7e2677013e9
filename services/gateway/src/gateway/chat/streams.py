"""Answers on their way to clients through this gateway instance: how they are received, stopped and resumed."""

import contextlib
import time
import uuid
from collections.abc import Iterator

import orjson

from common.bus.live.frames import Frame, FrameKind, repeated_head
from common.bus.live.reader import LiveReader
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.bus.request_reply import refusal_to
from common.events.chat import (
    ANSWER_ATTACH,
    ANSWER_READ,
    ANSWER_STOP,
    SESSION_INTERRUPT,
    AnswerAttach,
    AnswerRead,
    AnswerStop,
    SessionInterrupt,
    StopReason,
    StopReceipts,
    TurnReceipt,
)
from common.failures import Refused
from gateway.chat.open_streams import OpenStreams
from gateway.chat.stream import ATTACH_SECONDS, Stream
from gateway.ports import AnswerStore

# Of an answer that was too large to be kept only the end is there.
NOT_KEPT = Refused(404, "What is missing of this answer is not kept: it was too large.", "completion_not_kept")
# How often the store is asked for the end of an answer that may be read elsewhere by now.
REST_SECONDS = 1.0
# How long a request whose client has left may wait to be begun before it counts as never written.
TAKEN_SECONDS = 2.0


class Streams:
    """Opens streams for requests, and signals to the answering instances what became of them."""

    def __init__(self, live: LiveWriter, reader: LiveReader, answers: AnswerStore, opened: OpenStreams) -> None:
        self._live = live
        self._reader = reader
        self._answers = answers
        self._opened = opened

    @property
    def mailbox(self) -> str:
        """Where answers to this process come."""
        return self._reader.mailbox

    @contextlib.contextmanager
    def open(
        self,
        request_id: str,
        org_id: str,
        session_id: str,
        *,
        received_at: float,
        streamed: bool = True,
        key_id: str = "",
        after: int = 0,
    ) -> Iterator[Stream]:
        """Receive the frames of an answer behind number `after`; an older stream of it ends."""
        with self._reader.waiting(request_id, after=after) as waiter:
            stream = Stream(request_id, org_id, session_id, waiter, received_at, streamed, key_id, number=after)
            self._opened.add(stream)
            try:
                yield stream
            finally:
                self._opened.forget(stream)

    def foreign(self, request_id: str, org_id: str) -> bool:
        """Whether this answer is read here and not for the organisation to resume: to open it would end that."""
        return self._opened.foreign(request_id, org_id)

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
            pause = min(pause, stream.ask_again())
        batch = await stream.waiter.frames(min(left, pause))
        if not stream.waiter.gap:
            stream.asked = 0
        if stream.is_stopped():
            return None
        if FrameKind.MARK in [frame.kind for frame in batch]:
            stream.marked = True
            batch = [frame for frame in batch if frame.kind != FrameKind.MARK]
        stream.note_end(batch)
        return batch

    def confirm(self, stream: Stream) -> None:
        """Tell the answering instance, which asked by a mark, how much is written to the client."""
        stream.marked = False
        read = AnswerRead(request_id=stream.request_id, mailbox=self._reader.mailbox, number=stream.number)
        self._live.queue_signal(ANSWER_READ, read)

    def confirm_whole(self, request_id: str) -> None:
        """Tell the same of an answer in one piece."""
        read = AnswerRead(request_id=request_id, mailbox=self._reader.mailbox, number=0)
        self._live.queue_signal(ANSWER_READ, read)

    async def _attach(self, stream: Stream) -> None:
        """Ask the answering instance for what is missing, and check whether the answer is over already."""
        after = stream.waiter.last_number
        with contextlib.suppress(BusUnavailableError):
            attach = AnswerAttach(
                request_id=stream.request_id, audience=stream.audience, mailbox=self._reader.mailbox, after=after
            )
            await self._live.signal(ANSWER_ATTACH, attach)
            stored = await self._answers.frames(stream.request_id, stream.audience)
            if stored and stored[0].number > after + 1:
                stored = [refusal_to(stream.request_id, NOT_KEPT)]
            # A client that names a frame that was never sent gets none of it.
            head = repeated_head(stored) if after < len(stored) else []
            for frame in head + stored:
                stream.waiter.push(frame)

    # -- stopping -------------------------------------------------------------------------------------------

    async def interrupt(self, org_id: str, session_id: str, reason: StopReason, at: float) -> None:
        """Stop every answer of a session that began before `at`, wherever it runs. Raises BusUnavailableError."""
        await self._interrupt(org_id, session_id, reason, at, None)

    async def interrupt_and_wait(
        self, org_id: str, session_id: str, reason: StopReason, at: float, timeout: float
    ) -> list[TurnReceipt]:
        """The same, and the receipts that come within `timeout` seconds; none where nothing was in progress."""
        ask_id = f"ask-{uuid.uuid4().hex}"
        with self._reader.waiting(ask_id) as waiter:
            await self._interrupt(org_id, session_id, reason, at, ask_id)
            frames = await waiter.first(timeout)
        bodies = [StopReceipts.model_validate(orjson.loads(frame.payload)["body"]) for frame in frames]
        return [receipt for body in bodies for receipt in body.receipts]

    async def _interrupt(self, org_id: str, session_id: str, reason: StopReason, at: float, ask_id: str | None) -> None:
        stopped = self._opened.stop_session(org_id, session_id, at)
        interrupt = SessionInterrupt(
            org_id=org_id,
            session_id=session_id,
            reason=reason,
            at=at,
            stopped=stopped,
            reply_to=self._reader.mailbox if ask_id else None,
            ask_id=ask_id,
        )
        await self._live.signal(SESSION_INTERRUPT, interrupt)

    def stop(self, stream: Stream, reason: StopReason, *, grace: float = 0.0, withdrawn: bool = False) -> None:
        """Stop one answer; with `grace`, only if nobody resumes it within so many seconds.

        The signal arrives for certain, if late: while the live channel is away, the work for a caller who has left
        goes on.
        """
        if stream.displaced or stream.ended:
            return
        stop = AnswerStop(
            request_id=stream.request_id,
            mailbox=self._reader.mailbox,
            reason=reason,
            at=time.time(),
            grace=grace,
            withdrawn=withdrawn,
            delivered=stream.number,
            last_byte_at=stream.last_byte_at,
        )
        self._live.queue_signal(ANSWER_STOP, stop)

    async def rest(self, stream: Stream, until: float, grace: float) -> None:
        """Await the end of an answer that nobody reads here any more, for the settlement of its usage only.

        At `until` (unix seconds) what it cost stays unknown. An answer that nobody has begun `grace` seconds
        after its client left, and a moment more, cost nothing: what begins now is stopped at once.
        """
        self._opened.forget(stream)
        unused = min(until, time.time() + grace + TAKEN_SECONDS)
        while stream.used_tokens is None and (left := until - time.time()) > 0:
            batch = await stream.waiter.frames(min(left, REST_SECONDS))
            stream.note_end(batch)
            if not batch:
                # Whoever resumed the answer gets its frames: only the store knows.
                await self._look_up(stream, time.time() >= unused)

    async def _look_up(self, stream: Stream, give_up: bool) -> None:
        """Note the end of an answer that is stored; with `give_up` also that nobody has begun it."""
        with contextlib.suppress(BusUnavailableError):
            stream.note_end(await self._answers.frames(stream.request_id, stream.audience))
            if give_up and not await self._answers.begun(stream.request_id):
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

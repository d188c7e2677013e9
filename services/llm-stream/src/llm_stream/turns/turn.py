"""One turn in flight: its frames, what was released of it, and how it is stopped."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from common.bus.live.frames import Frame, FrameKind, repeated_head
from common.bus.live.writer import LiveWriter
from common.bus.request_reply import refusal_to
from common.events.chat import AnswerEnd, AnswerStart, ChatReplyRequested, StopReason, StopReceipt
from common.events.envelope import Event
from common.failures import Refused
from common.metrics import labelled
from llm_stream.aliases import Upstream
from llm_stream.metrics import FIRST_TOKEN, STOP_SECONDS
from llm_stream.ports import Answer


class Turn:
    """State of one answer. Frames are numbered from 1; frame 1 is START, the last one END.

    Everything sent is kept until the turn ends, so that a client which dropped can attach again through any
    gateway instance.
    """

    def __init__(self, event: Event[ChatReplyRequested], live: LiveWriter, on_release: Callable[[], None]) -> None:
        self.request = event.payload
        self.event = event
        self.mailbox = event.reply_to or ""
        self.started_at = time.time()
        self.deadline = event.deadline or self.started_at + 120.0
        self.first_token_at: float | None = None
        self.last_byte_at: float | None = None
        self.frames: list[Frame] = []
        self.generated_tokens = 0
        self.attempt_tokens = 0  # of the attempt under way: failed ones are not billed
        self.receipt: StopReceipt | None = None
        self.claim: asyncio.Task[Any]  # whether we are the one who answers
        self.postponed = False
        self.work: asyncio.Task[Any] | None = None
        self.answer: Answer | None = None
        self.upstream: Upstream | None = None  # of the attempt under way
        self.first_byte_at: float | None = None  # of the attempt under way
        self._live = live
        self._on_release = on_release
        self._released: list[str] = []
        self._tokens_at = [0]  # released tokens after frame number i
        self._detached = False
        self._deferring = False
        self._deferred: list[Frame] = []
        self._grace: asyncio.TimerHandle | None = None
        self.withdrawn = False

    # -- frames -------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the client has been promised an answer: from here on errors travel in band."""
        return bool(self.frames)

    @property
    def claimed(self) -> bool:
        """Whether it is known that we are the one who answers."""
        claim = self.claim
        return claim.done() and not claim.cancelled() and claim.exception() is None and claim.result() == "mine"

    async def await_claim(self) -> None:
        """To be called before anything is said; raises CancelledError where somebody else answers."""
        if not self.claim.done():
            await asyncio.wait({self.claim})
        if not self.claimed:
            raise asyncio.CancelledError

    def postpone(self) -> None:
        """Give the upstream up: it would talk to nobody for as long as the claim has to wait."""
        if self.work is not None and not self.work.done():
            self.postponed = True
            self.work.cancel()

    @property
    def over(self) -> bool:
        """Whether the answer has ended by itself, whole or failed."""
        return self.work is not None and self.work.done() and not self.work.cancelled()

    @property
    def abandonable(self) -> bool:
        """Whether a gateway is supposed to be listening."""
        return bool(self.mailbox) and not self._detached and self.receipt is None and not self.over

    @property
    def released_text(self) -> str:
        return "".join(self._released)

    @property
    def delivered_tokens(self) -> int:
        return self._tokens_at[-1]

    def start(self, headers: dict[str, str]) -> None:
        """Begin the answer; `headers` are for the HTTP response."""
        if not self.frames:
            self._on_release()
            start = AnswerStart(headers=headers, session_id=self.request.session_id, deadline=self.deadline)
            self._send(FrameKind.START, start.model_dump_json().encode(), 0)

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Release one SSE message (the JSON or `[DONE]` behind `data:`); after a stop nothing more is said."""
        if self.receipt is not None:
            return
        if text:
            self._released.append(text)
        if tokens and self.first_token_at is None:
            self.first_token_at = time.time()
            labelled(FIRST_TOKEN, self.request.model).observe(self.first_token_at - self.request.received_at)
        self._send(FrameKind.DATA, b"id: %d\ndata: %b\n\n" % (len(self.frames) + 1, data), tokens)

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """Release an answer that is not streamed."""
        if self.receipt is not None:
            return
        self.first_token_at = time.time()
        self._send(FrameKind.DATA, body, tokens)

    def emit_error(self, body: bytes) -> None:
        """Tell a client that already listens that the answer failed; no `[DONE]` follows."""
        self._send(FrameKind.DATA, b"id: %d\ndata: %b\n\n" % (len(self.frames) + 1, body), 0)

    def end(self, how: AnswerEnd) -> None:
        """Close the answer with how it ended."""
        self._send(FrameKind.END, how.model_dump_json(exclude_none=True).encode(), 0)

    def refuse(self, refused: Refused) -> None:
        """Close an answer whose frames are lost, outside the order: a number would be taken for a repetition."""
        frame = refusal_to(self.request.request_id, refused)
        self.frames.append(frame)
        self._deliver(frame)

    def defer(self) -> None:
        """Keep the last frames back until `flush`: how the turn ended must be stored before they leave."""
        self._deferring = True

    def flush(self) -> None:
        """Send what `defer` kept back."""
        self._deferring = False
        deferred, self._deferred = self._deferred, []
        for frame in deferred:
            self._deliver(frame)

    def _send(self, kind: FrameKind, payload: bytes, tokens: int) -> None:
        frame = Frame(self.request.request_id, kind, len(self.frames) + 1, payload)
        self.frames.append(frame)
        self._tokens_at.append(self._tokens_at[-1] + tokens)
        if kind is FrameKind.DATA:
            self.last_byte_at = time.time()
        self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        if self._deferring:
            self._deferred.append(frame)
        elif not self._detached:
            # A frame that is lost shows at the reader as a gap, and it attaches again.
            self._live.send(self.mailbox, frame)

    # -- resume -------------------------------------------------------------------------------------------

    def attach(self, mailbox: str, after: int) -> None:
        """Send how the answer began and everything behind frame `after` to this mailbox, and what follows too."""
        self.mailbox = mailbox
        self._detached = False
        self._cancel_grace()
        # Where there is nothing to repeat, the reader learns by the head that the answer goes on.
        for frame in repeated_head(self.frames) + self.frames[after:]:
            self._deliver(frame)

    def detach(self, grace: float, stop: Callable[[], object]) -> None:
        """The client is gone; go on without it for `grace` seconds, then `stop`."""
        self._detached = True
        self._cancel_grace()
        self._grace = asyncio.get_running_loop().call_later(grace, stop)

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    # -- stop ---------------------------------------------------------------------------------------------

    def stop(
        self, reason: StopReason, signal_at: float, *, delivered: int | None = None, last_byte_at: float | None = None
    ) -> None:
        """Stop the answer now: the upstream connection is closed before this returns.

        `delivered` is the number of the last frame that left the gateway, where the gateway told. A turn that is
        `over` ended by itself; there is nothing to stop.
        """
        if self.receipt is not None or self.over:
            return
        if self.answer is not None:
            self.answer.close()
        closed_at = time.time()
        known = delivered is not None and delivered < len(self._tokens_at)
        self.receipt = StopReceipt(
            reason=reason,
            signal_at=signal_at,
            last_byte_at=last_byte_at or self.last_byte_at,
            upstream_closed_at=closed_at,
            generated_tokens=self.generated_tokens,
            delivered_tokens=self._tokens_at[delivered] if known and delivered is not None else self.delivered_tokens,
        )
        STOP_SECONDS.observe(max(0.0, closed_at - signal_at))
        self._cancel_grace()
        if self.work is not None:
            self.work.cancel()

    def close(self) -> None:
        """Drop the timer of a turn that ended."""
        self._cancel_grace()

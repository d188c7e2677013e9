"""One turn in flight: what it consists of, and how it is stopped, left and taken up again."""

import asyncio
import time
from collections.abc import Callable

from common.bus.live.writer import LiveWriter
from common.events.chat import ChatReplyRequested, StopReceipt
from common.events.embeddings import EmbeddingsRequested
from llm_stream.answer.attempt import Attempts
from llm_stream.answer.backlog import AnswerMemory, Backlog
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.dialect_frames import frames_for
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.in_progress import FactNotes
from llm_stream.answer.rounds import Rounds
from llm_stream.answer.spending import Spending
from llm_stream.metrics import STOP_SECONDS
from llm_stream.turns.claim import Claim, Claimed, RequestEvent
from llm_stream.turns.stop import Stop

# For requests that carry no deadline.
DEFAULT_SECONDS = 120.0


class Turn:
    """A request that is being answered, with its frames and its attempts; `deadline` is unix seconds."""

    def __init__(
        self,
        event: RequestEvent,
        live: LiveWriter,
        before_start: Callable[[], None],
        memory: AnswerMemory,
    ) -> None:
        self.event = event
        self.request: ChatReplyRequested | EmbeddingsRequested = event.payload
        self.started_at = time.time()
        self.deadline = event.deadline or self.started_at + DEFAULT_SECONDS
        self.delivery = Delivery(live, event.reply_to or "")
        self.attempts = Attempts()
        self.notes = FactNotes()
        self.rounds = Rounds()
        self.spending: Spending | None = None
        self.backlog = Backlog(
            self.request.request_id,
            self.delivery,
            memory=memory,
            hold=self.attempts.hold_upstream,
            marked=self.request.stream,
        )
        self.frames = frames_for(self.request, self.deadline, self.delivery, before_start, self.backlog)
        # Written by `life` alone.
        self.claim: asyncio.Task[Claimed]
        self.work: asyncio.Task[FinishedAnswer | None] | None = None
        self.postponed = False
        # Written here alone.
        self.receipt: StopReceipt | None = None
        self.withdrawn = False
        # The number of the last frame that had left when it was stopped, where a gateway said so.
        self.left_at: int | None = None
        self._grace: asyncio.TimerHandle | None = None

    @property
    def session(self) -> str:
        """The session, as signals are matched to it."""
        return f"{self.request.org_id}/{self.request.session_id}"

    @property
    def ours(self) -> bool:
        """Whether it is known that we are the one who answers."""
        claim = self.claim
        return claim.done() and not claim.cancelled() and claim.exception() is None and claim.result() is Claim.OURS

    async def is_ours(self) -> bool:
        """Wait until it is known whether we are the one who answers."""
        if not self.claim.done():
            await asyncio.wait({self.claim})
        return self.ours

    @property
    def over(self) -> bool:
        """Whether the answer has ended by itself, whole or failed."""
        return self.work is not None and self.work.done() and not self.work.cancelled()

    @property
    def stoppable(self) -> bool:
        """Whether there is still something to stop."""
        return self.receipt is None and not self.over

    # -- stop ---------------------------------------------------------------------------------------------

    def stop(self, stop: Stop) -> None:
        """Stop the answer now: the upstream connection is closed before this returns.

        A turn that is `over` ended by itself: there is nothing to stop.
        """
        if stop.withdrawn:
            self.withdrawn = True
        if not self.stoppable:
            return
        self.attempts.close_upstream()
        closed_at = time.time()
        self.left_at = stop.delivered
        self.receipt = StopReceipt(
            reason=stop.reason,
            signal_at=stop.signal_at,
            last_byte_at=stop.last_byte_at or self.frames.last_byte_at,
            upstream_closed_at=closed_at,
            generated_tokens=self.attempts.generated_tokens,
            delivered_tokens=self.frames.tokens_up_to(stop.delivered),
        )
        STOP_SECONDS.observe(max(0.0, closed_at - stop.signal_at))
        self.frames.mute()
        self.close()
        if self.work is not None:
            self.work.cancel()

    # -- resume -------------------------------------------------------------------------------------------

    def client_left(self, stop: Stop, grace: float) -> None:
        """Stop unless somebody takes the answer up within `grace` seconds; it goes on meanwhile."""
        if grace <= 0:
            self.stop(stop)
            return
        self.delivery.detach()
        self.close()
        self._grace = asyncio.get_running_loop().call_later(grace, self.stop, stop)

    def attach(self, mailbox: str, after: int) -> None:
        """Send how the answer began and everything behind frame `after` to this mailbox, and what follows too."""
        self.delivery.attach(mailbox)
        self.close()
        self.backlog.repeat(after)

    def close(self) -> None:
        """Drop the timer of a client that left."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

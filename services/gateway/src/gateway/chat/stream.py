"""One answer on its way to a client."""

from dataclasses import dataclass

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.kept_answers import audience_of
from common.bus.live.waiter import Waiter
from common.events.backoff import Backoff
from common.events.chat import AnswerEnd, AnswerStart, Delivered
from common.events.model_json import from_json
from gateway.http.context import COMPLETION_HEADER

# While frames are missing they are asked for again, at first so soon. An answer that has not begun says nothing to it.
ATTACH_SECONDS = 0.25
MAX_ATTACH_SECONDS = 4.0
SESSION_ID_HEADER = "x-sonant-session-id"
AGAIN = Backoff(attempts=1_000_000, first=2 * ATTACH_SECONDS, ceiling=MAX_ATTACH_SECONDS)
LAST_KINDS = (FrameKind.END, FrameKind.REPLY)


@dataclass(slots=True)
class Stream:
    """One answer. `number` is the last frame written to the client, `last_byte_at` when that was.

    `used_tokens` is what it cost, None from its request until its end. `revoked`: stopped because its key has ended.
    """

    request_id: str
    org_id: str
    session_id: str
    waiter: Waiter
    received_at: float
    streamed: bool = True
    key_id: str = ""
    revoked: bool = False
    number: int = 0
    last_byte_at: float | None = None
    stopped: bool = False
    displaced: bool = False
    ended: bool = False
    used_tokens: int | None = 0
    marked: bool = False  # the answering instance wants to know how much is written
    asked: int = 0  # times that what is missing was asked for, since anything came

    def headers(self) -> dict[str, str]:
        """The headers by which a client knows the answer and its session."""
        return {COMPLETION_HEADER: self.request_id, SESSION_ID_HEADER: self.session_id}

    def ask_again(self) -> float:
        """Seconds until what is missing is to be asked for once more; with jitter, since all streams lose at once."""
        self.asked += 1
        return AGAIN.delay(self.asked) or MAX_ATTACH_SECONDS

    @property
    def audience(self) -> str:
        """Who may resume this answer."""
        return audience_of(self.org_id, stream=self.streamed)

    def note_end(self, batch: list[Frame]) -> None:
        """Note from the last frame that the answer is over, and what it cost."""
        if not batch or batch[-1].kind not in LAST_KINDS:
            return
        self.ended, self.used_tokens = True, 0
        if batch[-1].kind == FrameKind.END:
            self.used_tokens = from_json(AnswerEnd, batch[-1].payload).usage.total_tokens

    @property
    def head(self) -> AnswerStart | None:
        """What a resumed answer began with; None where it has not begun."""
        head = self.waiter.head
        return None if head is None else from_json(AnswerStart, head.payload)

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

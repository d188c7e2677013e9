"""What stands between an upstream and a client that reads slowly: bounded for each answer, and for all of a process.

Every `MARK_BYTES` a mark goes out behind the frames. The gateway answers it with a receipt once all before it is
written to the client. An answer whose unread frames exceed its window holds its upstream until receipts have come.
Most answers are shorter than the first mark and cost nothing of this.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from common.bus.live.frames import Frame, FrameKind, repeated_head
from llm_stream.answer.delivery import Delivery
from llm_stream.metrics import ANSWERS_FORGOTTEN, UPSTREAMS_HELD

# How far apart marks are, and the window of every answer while all together exceed their bound.
MARK_BYTES = 64 * 1024
# A mark or its receipt may get lost: one that holds its upstream asks again, at first so soon, and then ever more
# seldom: there may be thousands that nobody reads.
ASK_SECONDS = 1.0
MAX_ASK_SECONDS = 4.0
# What a frame takes in memory beside its payload, about.
FRAME_BYTES = 200


@dataclass(slots=True)
class AnswerMemory:
    """What all running answers of this process hold, in bytes, as each told at its last mark or receipt.

    `window` is the most that one answer has unread, `max_unread` that of all together. Beyond `max_kept` for all
    together, what clients have received is forgotten, and can no longer be resumed from.
    """

    window: int = 256 * 1024
    max_unread: int = 64 * 1024 * 1024
    max_kept: int = 128 * 1024 * 1024
    unread: int = 0
    kept: int = 0

    def fair_window(self) -> int:
        """The window that holds now."""
        return self.window if self.unread <= self.max_unread else min(self.window, MARK_BYTES)


class Backlog:
    """The frames of one answer: sent, kept for whoever attaches later, and held up where nobody reads them.

    `hold` is told whether the upstream is to wait. `marked` says whether there is a reader who answers marks.
    """

    def __init__(
        self,
        request_id: str,
        delivery: Delivery,
        *,
        memory: AnswerMemory | None = None,
        hold: Callable[[bool], None] = lambda held: None,
        marked: bool = True,
    ) -> None:
        self.kept: list[Frame] = []
        self.forgotten = 0  # the number of the last frame that is not kept any more
        self.head: list[Frame] = []  # as it is repeated to a reader who resumes behind it
        # What was said, for a fallback to go on from; forgotten with the frames unless tools that are run here need it.
        self.texts: list[str] = []
        self.needs_texts = False
        self.texts_forgotten = False
        self._request_id = request_id
        self._delivery = delivery
        self._memory = memory or AnswerMemory()
        self._hold = hold
        self._marked = marked
        self._unread = 0  # bytes behind the last receipt
        self._ask_at = MARK_BYTES
        self._read = 0  # the number in that receipt
        self._read_bytes = 0  # of the kept frames up to it
        self._sent: int | None = None  # up to where a reader who took the answer up was sent it; None is to the end
        self._caught_up = asyncio.Event()
        self._held = False
        self._told = (0, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._pause = ASK_SECONDS
        self._closed = False

    @property
    def last(self) -> int:
        """The number of the last frame."""
        return self.forgotten + len(self.kept)

    @property
    def kept_bytes(self) -> int:
        """The payloads of all frames that are kept in order."""
        return self._unread + self._read_bytes

    def add(self, frame: Frame) -> None:
        """Keep a frame and send it. The hottest path there is: what is rare stands in `_grew`."""
        self.kept.append(frame)
        self._unread += len(frame.payload)
        if self._sent is None:
            self._delivery.send(frame)
        if self._unread > self._ask_at:
            self._grew()

    def add_aside(self, frame: Frame) -> None:
        """Keep and send a frame outside the order."""
        self.kept.append(frame)
        self._delivery.send(frame)

    def _grew(self) -> None:
        self._ask_at = self._unread + MARK_BYTES
        self._account()
        if not self._marked or self._closed:
            return
        self._ask()
        if self._unread > self._memory.fair_window():
            # Also where it is held: another attempt may have begun since.
            self._hold(True)
            if not self._held:
                self._held = True
                UPSTREAMS_HELD.inc()
                self._ask_later()

    def received(self, number: int) -> None:
        """A receipt: everything up to this frame is written to the client."""
        sent = self.last if self._sent is None else self._sent
        number = min(number, sent)
        progress = number > self._read
        if progress:
            self._pause = ASK_SECONDS
            size = self._size(self._read, number)
            self._read, self._read_bytes = number, self._read_bytes + size
            self._unread -= size
            self._ask_at = self._unread + MARK_BYTES
            self._account()
            self._send_on()
        if self._held and self._unread <= self._memory.fair_window() // 2:
            self._release()
        elif self._held and progress and self._sent is None:
            self._ask()

    def repeat(self, after: int) -> None:
        """Send again how the answer began and what is behind frame `after`, no faster than it is read."""
        # Where there is nothing to repeat, the reader learns by the head that the answer goes on.
        for frame in self._repeated_head():
            self._delivery.send(frame)
        self._read, self._sent = after, after
        self._unread, self._read_bytes = self._size(after, self.last), self._size(self.forgotten, after)
        self._ask_at = self._unread + MARK_BYTES
        self._caught_up.clear()
        self._account()
        self._send_on()
        if self._held and self._unread <= self._memory.fair_window() // 2:
            self._release()

    def can_repeat(self, after: int) -> bool:
        """Whether everything behind this frame is here. Behind one that was never sent something would be missing."""
        return self.forgotten <= after <= self.last

    async def caught_up(self) -> None:
        """Wait until a reader who took the answer up has been sent all of it."""
        while self._sent is not None:
            await self._caught_up.wait()

    def close(self) -> None:
        """The turn is over: nothing answers receipts any more."""
        self.send_rest()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._tell(0, 0)

    def send_rest(self) -> None:
        """Send all that a reader who took the answer up has not been sent, however much it is."""
        if self._sent is not None:
            ahead = self.kept[self._sent - self.forgotten :]
            self._sent = None
            self._caught_up.set()
            for frame in ahead:
                self._delivery.send(frame)

    # -- how it is done -----------------------------------------------------------------------------------------

    def _repeated_head(self) -> list[Frame]:
        return self.head or repeated_head(self.kept)

    def _size(self, after: int, up_to: int) -> int:
        frames = self.kept[max(0, after - self.forgotten) : max(0, up_to - self.forgotten)]
        return sum(len(frame.payload) for frame in frames)

    def _send_on(self) -> None:
        """Send more to a reader who took the answer up, as far as the window allows."""
        if self._sent is None:
            return
        room = self._memory.fair_window() - self._size(self._read, self._sent)
        ahead = self.kept[self._sent - self.forgotten :]
        for frame in ahead:
            if room <= 0 and self._marked:
                break
            self._delivery.send(frame)
            self._sent += 1
            room -= len(frame.payload)
        if self._sent == self.last:
            self._sent = None
            self._caught_up.set()
        else:
            self._ask()
            self._ask_later()

    def _ask(self) -> None:
        if self._delivery.listened_to:
            self._delivery.send(Frame(self._request_id, FrameKind.MARK, 0, b""))

    def _ask_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._ask_again)

    def _ask_again(self) -> None:
        self._timer = None
        if self._held or self._sent is not None:
            self._pause = min(2 * self._pause, MAX_ASK_SECONDS)
            self._ask()
            self._ask_later()

    def _release(self) -> None:
        self._held = False
        self._hold(False)

    def _account(self) -> None:
        """Tell the process what this answer holds; where all hold too much, forget what its client has."""
        self._tell(self._unread, self.kept_bytes + FRAME_BYTES * len(self.kept))
        if self._memory.kept > self._memory.max_kept and self._read > self.forgotten:
            self.head = self._repeated_head()
            if not self.forgotten:
                ANSWERS_FORGOTTEN.inc()
            del self.kept[: self._read - self.forgotten]
            self.forgotten, self._read_bytes = self._read, 0
            if not self.needs_texts:
                self.texts.clear()
                self.texts_forgotten = True
            self._tell(self._unread, self._unread + FRAME_BYTES * len(self.kept))

    def _tell(self, unread: int, kept: int) -> None:
        self._memory.unread += unread - self._told[0]
        self._memory.kept += kept - self._told[1]
        self._told = (unread, kept)

"""The way of one answer to its client: numbered frames, no more of them on the way than the client's window.

The gateway answers a mark once all before it is written to the client. What it has not confirmed is kept, to be sent
again where it was lost. An answer is not kept beyond that: whoever wants it again asks again, and what was made is
there.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.events.chat import AnswerEnd, AnswerStart
from common.events.model_json import to_json
from media.metrics import SPEECH_HELD
from media.speech_ports import Gone

# Of one frame: a larger one would hold up the frames of everybody else on the way to that gateway.
FRAME_BYTES = 32 * 1024
# How far apart marks are, and how much may be unread.
MARK_BYTES = 64 * 1024
WINDOW_BYTES = 256 * 1024
# A mark or its receipt may get lost, and a gateway may die: both are looked after this often.
ASK_SECONDS = 1.0


class FrameOutlet:
    """An `Outlet` over the live channel. `begun` is called before anything is sent."""

    def __init__(self, request_id: str, mailbox: str, live: LiveWriter, begun: Callable[[], None]) -> None:
        self.request_id = request_id
        self.mailbox = mailbox
        self.first_byte_at: float | None = None
        self.stopped: str | None = None  # why nobody reads any more
        self._live = live
        self._begun = begun
        self._number = 0
        self._head: Frame | None = None
        self._unread: deque[Frame] = deque()
        self._unread_bytes = 0
        self._since_mark = 0
        self._moved = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the client has been promised an answer: from here on errors travel in band."""
        return self._number > 0

    def begin(self, headers: Mapping[str, str], until: float) -> None:
        """Say how the answer begins; `until` is unix seconds."""
        self._begun()
        start = AnswerStart(headers=dict(headers), session_id=self.request_id, deadline=until)
        self._send(FrameKind.START, to_json(start, exclude_unset=True))
        self._head = self._unread[0]._replace(number=0)

    async def write(self, data: bytes) -> None:
        """Hand bytes on, no faster than the client reads. Raises Gone where nobody reads."""
        for at in range(0, len(data), FRAME_BYTES):
            await self._room()
            if self.first_byte_at is None:
                self.first_byte_at = time.time()
            part = data[at : at + FRAME_BYTES]
            self._send(FrameKind.DATA, part)
            self._since_mark += len(part)
            if self._since_mark >= MARK_BYTES:
                self._since_mark = 0
                self._mark()

    def end(self, how: AnswerEnd) -> None:
        """Close the answer."""
        self._send(FrameKind.END, to_json(how))

    def stop(self, reason: str) -> None:
        """Nobody reads any more."""
        self.stopped = self.stopped or reason
        self._moved.set()

    def received(self, number: int) -> None:
        """A receipt: everything up to this frame is written to the client."""
        while self._unread and self._unread[0].number <= number:
            self._unread_bytes -= len(self._unread.popleft().payload)
        self._moved.set()

    def repeat(self, mailbox: str, after: int) -> None:
        """Send again what is behind this frame to a gateway that lost it."""
        if self._head is None or mailbox != self.mailbox:
            return
        self._live.send(mailbox, self._head)
        for frame in self._unread:
            if frame.number > after:
                self._live.send(mailbox, frame)

    async def listened_to(self) -> None:
        """Raises Gone where the gateway is not there any more."""
        if self.stopped is not None:
            raise Gone(self.stopped)
        try:
            there = await self._live.listening(self.mailbox)
        except BusUnavailableError:
            # While nobody can be heard, that says nothing about the gateway.
            return
        if not there:
            raise Gone("gateway_lost")

    async def _room(self) -> None:
        """Wait until the client has read on."""
        if self.stopped is not None:
            raise Gone(self.stopped)
        if self._unread_bytes <= WINDOW_BYTES:
            return
        SPEECH_HELD.inc()
        while self._unread_bytes > WINDOW_BYTES // 2:
            self._moved.clear()
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self._moved.wait()
            except TimeoutError:
                self._mark()
            await self.listened_to()

    def _mark(self) -> None:
        self._live.send(self.mailbox, Frame(self.request_id, FrameKind.MARK, 0, b""))

    def _send(self, kind: int, payload: bytes) -> None:
        self._number += 1
        frame = Frame(self.request_id, kind, self._number, payload)
        self._unread.append(frame)
        self._unread_bytes += len(payload)
        self._live.send(self.mailbox, frame)

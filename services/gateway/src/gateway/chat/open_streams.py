"""The answers that clients of this process are reading, and the signals that stop them."""

from common.bus.live.kept_answers import audience_of
from common.events.chat import AnswerAbandoned, Delivered, SessionInterrupt
from gateway.chat.stream import Stream


class OpenStreams:
    """All streams of this process, by request id."""

    def __init__(self) -> None:
        self._open: dict[str, Stream] = {}

    def add(self, stream: Stream) -> None:
        """A client reads this answer from now on; an older stream of it ends."""
        former = self._open.get(stream.request_id)
        if former is not None:
            former.displaced = True
            former.stop()
        self._open[stream.request_id] = stream

    def forget(self, stream: Stream) -> None:
        """No client reads this any more: what had left of it says nothing about the answer."""
        if self._open.get(stream.request_id) is stream:
            del self._open[stream.request_id]

    def foreign(self, request_id: str, org_id: str) -> bool:
        """Whether this answer is read here and not for the organisation to resume: to open it would end that."""
        stream = self._open.get(request_id)
        return stream is not None and stream.audience != audience_of(org_id, stream=True)

    def __len__(self) -> int:
        return len(self._open)

    def stop_session(self, org_id: str, session_id: str, at: float) -> dict[str, Delivered]:
        """Stop the streams of a session that began before `at`; returns what had left of each."""
        stopped = {}
        for stream in self._open.values():
            if (stream.org_id, stream.session_id) == (org_id, session_id) and stream.received_at <= at:
                stream.stop()
                stopped[stream.request_id] = stream.delivered()
        return stopped

    def has_key(self, key_id: str) -> bool:
        """Whether an answer for this API key is read here."""
        return any(stream.key_id == key_id for stream in self._open.values())

    def revoke(self, key_id: str) -> None:
        """Stop every answer for an API key that has ended; its reader is told why."""
        for stream in self._open.values():
            if stream.key_id == key_id and not stream.stopped:
                stream.revoked = True
                stream.stop()

    def on_interrupt(self, interrupt: SessionInterrupt) -> None:
        """An interruption that arrived at another gateway."""
        self.stop_session(interrupt.org_id, interrupt.session_id, interrupt.at)

    def on_abandoned(self, abandoned: AnswerAbandoned) -> None:
        """The instance that answered died: how the answer ended has to be asked for."""
        if (stream := self._open.get(abandoned.request_id)) is not None:
            stream.waiter.lost()

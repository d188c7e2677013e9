"""Where the frames of one answer go: the mailbox of whoever listens, if anybody does."""

from common.bus.live.frames import Frame
from common.bus.live.writer import LiveWriter


class Delivery:
    """Sends frames to one mailbox at a time; `mailbox` is empty where nobody waits."""

    def __init__(self, live: LiveWriter, mailbox: str) -> None:
        self.mailbox = mailbox
        self._live = live
        self._detached = False
        self._deferring = False
        self._deferred: list[Frame] = []

    @property
    def listened_to(self) -> bool:
        """Whether a gateway is supposed to be listening."""
        return bool(self.mailbox) and not self._detached

    def send(self, frame: Frame) -> None:
        """Send a frame, unless frames are kept back or nobody listens."""
        if self._deferring:
            self._deferred.append(frame)
        elif not self._detached:
            # A frame that is lost shows at the reader as a gap, and it attaches again.
            self._live.send(self.mailbox, frame)

    def attach(self, mailbox: str) -> None:
        """Send to this mailbox from now on."""
        self.mailbox = mailbox
        self._detached = False

    def detach(self) -> None:
        """Send nothing until somebody attaches."""
        self._detached = True

    def defer(self) -> None:
        """Keep the last frames back until `flush`: how the turn ended must be stored before they leave."""
        self._deferring = True

    def flush(self) -> None:
        """Send what `defer` kept back."""
        self._deferring = False
        deferred, self._deferred = self._deferred, []
        for frame in deferred:
            self.send(frame)

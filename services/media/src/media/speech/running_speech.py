"""The answers that this process speaks, and the signals that reach them."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from common.events.chat import AnswerAttach, AnswerRead, AnswerStop
from media.speech.frame_outlet import FrameOutlet

# How long the end of an answer can be sent once more to a gateway that lost it.
KEEP_SECONDS = 10.0
# A stop may overtake its request: so many are remembered, which is minutes of them.
MAX_EARLY = 10_000
# How the ids of our requests begin: signals about all other answers come by here too.
PREFIX = "speech-"


class RunningSpeech:
    """Outlets by the id of their request."""

    def __init__(self) -> None:
        self._outlets: dict[str, FrameOutlet] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._early: OrderedDict[str, str] = OrderedDict()

    @contextlib.contextmanager
    def running(self, outlet: FrameOutlet, answer: "asyncio.Task[None]") -> Iterator[None]:
        """An answer is spoken by this task; its signals come here, for a moment longer than it lasts."""
        self._outlets[outlet.request_id] = outlet
        self._tasks[outlet.request_id] = answer
        try:
            yield
        finally:
            self._tasks.pop(outlet.request_id, None)
            asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, outlet)

    def on_stop(self, stop: AnswerStop) -> None:
        """A client has left."""
        outlet = self._outlets.get(stop.request_id)
        if outlet is None and stop.request_id.startswith(PREFIX):
            self._early[stop.request_id] = stop.reason
            if len(self._early) > MAX_EARLY:
                self._early.popitem(last=False)
        elif outlet is not None and outlet.mailbox == stop.mailbox:
            outlet.stop(stop.reason)
            if (task := self._tasks.get(stop.request_id)) is not None:
                task.cancel()

    def stopped_early(self, request_id: str) -> str | None:
        """Why nobody waits for a request any more that has not begun; None where somebody does."""
        return self._early.pop(request_id, None)

    def on_read(self, read: AnswerRead) -> None:
        """A receipt."""
        outlet = self._outlets.get(read.request_id)
        if outlet is not None and outlet.mailbox == read.mailbox:
            outlet.received(read.number)

    def on_attach(self, attach: AnswerAttach) -> None:
        """A gateway lost frames of an answer."""
        if (outlet := self._outlets.get(attach.request_id)) is not None:
            outlet.repeat(attach.mailbox, attach.after)

    def _forget(self, outlet: FrameOutlet) -> None:
        if self._outlets.get(outlet.request_id) is outlet:
            del self._outlets[outlet.request_id]

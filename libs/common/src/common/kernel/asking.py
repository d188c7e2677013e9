"""Request and reply: a question goes onto the log, its answer comes back over LIVE."""

import time
import uuid
from typing import Any

import orjson

from common.bus.live import LiveReader
from common.bus.port import Log
from common.events.envelope import Event
from common.events.spec import EventSpec, P
from common.kernel.replies import Reply


class Asker:
    """Asks the services behind the log. The mailbox is open before the question is published."""

    def __init__(self, log: Log, reader: LiveReader) -> None:
        self._log = log
        self._reader = reader

    async def ask(self, spec: EventSpec[P], payload: P, *, timeout: float, event_id: str | None = None) -> Reply:
        """The reply within `timeout` seconds; after that nobody works on the question any more.

        `event_id` is that of the first try where this repeats a command: what was done then is not done again.
        Raises TimeoutError, and BusUnavailableError when the question could not be published.
        """
        request_id = f"ask-{uuid.uuid4().hex}"
        event: Event[Any] = Event(
            spec,
            payload,
            id=event_id or str(uuid.uuid4()),
            deadline=time.time() + timeout,
            reply_to=self._reader.mailbox,
            request_id=request_id,
        )
        with self._reader.waiting(request_id) as waiter:
            await self._log.publish(event.record())
            frames = await waiter.frames(timeout)
        if not frames:
            raise TimeoutError(f"no reply to {spec.type} within {timeout} s")
        return Reply(**orjson.loads(frames[0].payload))

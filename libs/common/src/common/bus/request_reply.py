"""Request and reply: a command or query goes onto the log, its reply comes back over LIVE."""

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.reader import LiveReader
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError, Log
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.reply import content as content_of
from common.events.spec import P, R, RequestSpec, Topic
from common.failures import Refused


class Requester:
    """Sends commands and queries to the services behind the log. Its mailbox is open before a request is published."""

    def __init__(self, log: Log, reader: LiveReader, require: Callable[[Topic], None] = lambda topic: None) -> None:
        """`require` raises BusUnavailableError where nobody would take a request on the topic in."""
        self._log = log
        self._reader = reader
        self._require = require

    async def ask(
        self, spec: RequestSpec[P, R], payload: P, *, timeout: float, event_id: str | None = None
    ) -> Reply[R]:
        """The reply within `timeout` seconds; after that no service works on the request.

        Where the reply may have been lost on its way, the same event is published once more.

        `event_id` is that of the first try where this repeats a command: it takes effect once.
        Raises Refused as the service did, TimeoutError, and BusUnavailableError when it could not be published.
        """
        self._require(spec.topic)
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
            record = event.record()
            await self._log.publish(record)
            until = time.monotonic() + timeout
            frames = await waiter.frames(timeout)
            if not frames and waiter.gap:
                # It has an effect once, and its reply is sent again.
                with contextlib.suppress(BusUnavailableError):
                    await self._log.publish(record)
                frames = await waiter.first(max(0.0, until - time.monotonic()))
        if not frames:
            raise TimeoutError(f"no reply to {spec.type} within {timeout} s")
        return read_reply(spec, frames[0].payload)


def read_reply(spec: RequestSpec[Any, R], payload: bytes) -> Reply[R]:
    """The reply in the payload of a REPLY frame. Raises Refused where it is a refusal."""
    content = orjson.loads(payload)
    status, headers = content["status"], content.get("headers") or {}
    if status >= 400:
        raise read_refusal(content)
    return Reply(spec.reply.model_validate(content["body"]), status, headers)


def read_refusal(content: dict[str, Any]) -> Refused:
    """The refusal in the content of a REPLY frame: `{"status", "body": {"error": {...}}, "headers"}`."""
    return Refused.read(content["status"], content["body"], content.get("headers"))


def send_reply(live: LiveWriter, event: Event[Any], reply: Reply[Any]) -> None:
    """Send a reply if somebody waits for one. The requester of one that is lost times out."""
    if event.reply_to is not None and event.request_id is not None:
        live.send(event.reply_to, reply_to(event.request_id, reply))


def send_refusal(live: LiveWriter, event: Event[Any], refused: Refused) -> None:
    """Send a refusal, if somebody waits for a reply."""
    if event.reply_to is not None and event.request_id is not None:
        live.send(event.reply_to, refusal_to(event.request_id, refused))


def reply_to(request_id: str, reply: Reply[Any]) -> Frame:
    """The frame that carries a reply."""
    return _frame(request_id, reply.status, content_of(reply.body), reply.headers)


def refusal_to(request_id: str, refused: Refused) -> Frame:
    """The frame that carries a refusal."""
    return _frame(request_id, refused.status, refused.body(), refused.headers)


def _frame(request_id: str, status: int, body: Any, headers: Mapping[str, str]) -> Frame:
    """A REPLY frame. Its number is 0: it is outside the order of frames."""
    payload = orjson.dumps({"status": status, "body": body, "headers": dict(headers)})
    return Frame(request_id, FrameKind.REPLY, 0, payload)

"""What a handler answers to a question, and how it travels back to the gateway that asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from common.bus.live import Frame, FrameKind, LiveWriter
from common.events.envelope import Event


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP-like answer: `body` is JSON-serialisable.

    `headers` go to the caller as they are: `x-sonant-provider`, and `retry-after` in seconds.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def error_body(message: str, *, type: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The one error shape of every route."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def send_reply(live: LiveWriter, event: Event[Any], reply: Reply) -> None:
    """Send an answer if somebody waits for one. Number 0: it stands outside any numbered frames."""
    if event.reply_to is None or event.request_id is None:
        return
    payload = orjson.dumps({"status": reply.status, "body": reply.body, "headers": dict(reply.headers)})
    # A lost answer is the asker's timeout; there is nobody else to tell.
    live.send(event.reply_to, Frame(event.request_id, FrameKind.REPLY, 0, payload))

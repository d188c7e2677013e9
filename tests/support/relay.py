"""A relay of an upstream's chunks whose frames are kept instead of sent."""

from typing import cast

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from common.events.chat import ChatReplyRequested
from common.providers.breaker import Breaker
from llm_stream.aliases import Alias, Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.frames import Frames
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.relay import Relay
from llm_stream.ports import Patience

UPSTREAM = Upstream(name="a", base_url="http://h", model="m")


class Mailbox:
    """A live writer that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def send(self, mailbox: str, frame: Frame) -> None:
        self.frames.append(frame)

    def data(self) -> list[bytes]:
        return [frame.payload.partition(b"data: ")[2][:-2] for frame in self.frames if frame.kind == FrameKind.DATA]


def relay_on(mailbox: Mailbox, release: str, choices: int = 1, *, include_usage: bool = False) -> Relay:
    """A relay into `mailbox` of the first attempt at `UPSTREAM`."""
    body = {"messages": [], "n": choices, "stream_options": {"include_usage": include_usage}}
    request = ChatReplyRequested(
        request_id="chatcmpl-1",
        org_id="o",
        key_id="k",
        session_id="s",
        model="alias",
        stream=True,
        body=body,
        received_at=1_795_000_000.0,
    )
    alias = Alias.model_validate({"upstreams": [UPSTREAM], "release": release})
    prepared = PreparedRequest(request, alias, body)
    attempt = Attempt(prepared, UPSTREAM, Breaker(), Patience(connect=1.0, first_byte=1.0, idle=1.0), 1)
    delivery = Delivery(cast("LiveWriter", mailbox), "mailbox")
    return Relay(attempt, Frames(request, request.received_at + 120.0, delivery, lambda: None))

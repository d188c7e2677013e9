"""A relay of an upstream's chunks whose frames are kept instead of sent."""

from typing import cast

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from common.events.chat import CHAT_REPLY_REQUESTED, ChatReplyRequested
from common.events.envelope import Event
from llm_stream.aliases import Alias, Upstream
from llm_stream.answer.relay import Relay
from llm_stream.turns.turn import Turn

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
    request = ChatReplyRequested(
        request_id="chatcmpl-1",
        org_id="o",
        key_id="k",
        session_id="s",
        model="alias",
        stream=True,
        body={"messages": []},
        received_at=1_795_000_000.0,
    )
    event = Event(CHAT_REPLY_REQUESTED, request, reply_to="mailbox")
    turn = Turn(event, cast("LiveWriter", mailbox), lambda: None)
    alias = Alias.model_validate({"upstreams": [UPSTREAM], "release": release})
    return Relay(turn, alias, UPSTREAM, include_usage=include_usage, choices=choices)

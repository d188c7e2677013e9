"""A relay of an upstream's chunks whose frames are kept instead of sent, and what its client hears."""

from typing import Any, cast

import orjson
import pytest

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from common.events.chat import ChatReplyRequested
from common.providers.shared_breaker import SharedBreaker
from llm_stream.aliases import Alias, Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.finish import finish
from llm_stream.answer.frames import Frames
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.relay import Relay
from llm_stream.answer.rounds import Rounds
from llm_stream.ports import Patience

RELEASES = pytest.mark.parametrize("release", ["tokens", "sentences"])
Delta = dict[str, Any]
UPSTREAM = Upstream(name="a", base_url="http://h", model="m")


class Mailbox:
    """A live writer that keeps what it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def send(self, mailbox: str, frame: Frame) -> None:
        self.frames.append(frame)

    def data(self) -> list[bytes]:
        return [frame.payload.partition(b"data: ")[2][:-2] for frame in self.frames if frame.kind == FrameKind.DATA]


def request_of(
    body: dict[str, Any], *, stream: bool = True, received_at: float = 1_795_000_000.0
) -> ChatReplyRequested:
    """A request for an answer by the model `alias`."""
    return ChatReplyRequested(
        request_id="chatcmpl-1",
        org_id="o",
        key_id="k",
        session_id="s",
        model="alias",
        stream=stream,
        body=body,
        received_at=received_at,
    )


def frames_on(mailbox: Mailbox) -> Frames:
    """The frames of an answer that goes into `mailbox`."""
    request = request_of({"messages": []})
    return Frames(request, request.received_at + 120.0, Delivery(cast("LiveWriter", mailbox), "mailbox"), lambda: None)


def relay_on(mailbox: Mailbox, release: str, choices: int = 1, *, include_usage: bool = False) -> Relay:
    """A relay into `mailbox` of the first attempt at `UPSTREAM`."""
    body = {"messages": [], "n": choices, "stream_options": {"include_usage": include_usage}}
    request = request_of(body)
    alias = Alias.model_validate({"upstreams": [UPSTREAM], "release": release})
    prepared = PreparedRequest(request, alias, body)
    patience = Patience(connect=1.0, first_byte=1.0, idle=1.0)
    attempt = Attempt(prepared, UPSTREAM, SharedBreaker().seen_by(request.org_id), patience, 1)
    delivery = Delivery(cast("LiveWriter", mailbox), "mailbox")
    return Relay(attempt, Frames(request, request.received_at + 120.0, delivery, lambda: None))


class Client:
    """One stream, and what its client hears of it."""

    def __init__(self, release: str, choices: int = 1) -> None:
        self.mailbox = Mailbox()
        self.relay: Relay = relay_on(self.mailbox, release, choices, include_usage=True)

    def takes(self, *payloads: Any) -> "Client":
        for payload in payloads:
            self.relay.take(payload if isinstance(payload, bytes) else orjson.dumps(payload))
        return self

    def ends(self) -> "Client":
        self.relay.take(b"[DONE]")
        self.relay.check_whole()
        self.fact = finish(self.relay, Rounds())
        self.relay._frames.delivery.flush()
        return self

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [orjson.loads(data) for data in self.mailbox.data() if data != b"[DONE]"]

    def choices(self, index: int = 0) -> list[dict[str, Any]]:
        return [choice for each in self.chunks for choice in each["choices"] if choice["index"] == index]

    def deltas(self, index: int = 0) -> list[Delta]:
        """What was said, without roles and ends."""
        deltas = ({**choice["delta"]} for choice in self.choices(index))
        return [delta for delta in deltas if (delta.pop("role", None), delta)[1]]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas())

    @property
    def endings(self) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices() if choice["finish_reason"] is not None]


def said(**delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def call(arguments: Any = "", **members: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": members.pop("name")} if "name" in members else {})}
    return said(tool_calls=[{**members, "function": function}])

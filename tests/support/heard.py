"""What a client hears of one turn, read strictly: frames in order, one end, and nothing behind it."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from common.bus.live.frames import Frame, FrameKind
from common.bus.live.waiter import Waiter


@dataclass
class Heard:
    """What the client of one turn was sent."""

    frames: list[Frame] = field(default_factory=list)

    def _of(self, kind: int) -> list[bytes]:
        return [frame.payload for frame in self.frames if frame.kind == kind]

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers an answer began with; None where it never began."""
        started = self._of(FrameKind.START)
        return dict(orjson.loads(started[0])["headers"]) if started else None

    @property
    def messages(self) -> list[bytes]:
        """The SSE messages, without their ids."""
        found = []
        for frame in self.frames:
            if frame.kind == FrameKind.DATA:
                head, _, data = frame.payload.partition(b"\n")
                assert head == b"id: %d" % frame.number
                assert data.startswith(b"data: ")
                assert data.endswith(b"\n\n")
                found.append(data[6:-2])
        return found

    @property
    def done(self) -> bool:
        """Whether the stream was closed as complete; `[DONE]` may only stand at its end."""
        messages = self.messages
        assert b"[DONE]" not in messages[:-1]
        return bool(messages) and messages[-1] == b"[DONE]"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(message) for message in self.messages if message != b"[DONE]"]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [event for event in self.events if "error" not in event]

    @property
    def error(self) -> dict[str, Any] | None:
        """The in-band error; it may only stand at the end."""
        errors = [event["error"] for event in self.events if "error" in event]
        assert len(errors) <= 1
        assert not errors or "error" in self.events[-1]
        return errors[0] if errors else None

    def choices(self, index: int = 0) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]

    def text(self, index: int = 0) -> str:
        """What was said: of a stream or of a whole answer."""
        if self.whole is not None:
            return str(self.whole["choices"][index]["message"]["content"])
        return "".join(choice["delta"].get("content") or "" for choice in self.choices(index))

    def finish_reasons(self) -> list[str]:
        said = self.whole["choices"] if self.whole is not None else [c for e in self.chunks for c in e["choices"]]
        return [choice["finish_reason"] for choice in said if choice["finish_reason"] is not None]

    @property
    def whole(self) -> dict[str, Any] | None:
        """The body of an answer that was not streamed."""
        data = self._of(FrameKind.DATA)
        return dict(orjson.loads(data[0])) if data and not data[0].startswith(b"id: ") else None

    @property
    def end(self) -> dict[str, Any]:
        """How it ended; END is the last frame and the only one of its kind."""
        ends = self._of(FrameKind.END)
        assert len(ends) == 1
        assert self.frames[-1].kind == FrameKind.END
        return dict(orjson.loads(ends[0]))


class Exchange:
    """One request under way."""

    def __init__(self, request_id: str, session_id: str, waiter: Waiter) -> None:
        self.id = request_id
        self.session_id = session_id
        self.heard = Heard()
        self._waiter = waiter

    async def hears(self, frames: int) -> None:
        """Wait until that many frames have come."""
        while len(self.heard.frames) < frames:
            await self._more()

    async def ended(self) -> Heard:
        """Wait for the end."""
        while not self.heard.frames or self.heard.frames[-1].kind != FrameKind.END:
            await self._more()
        return self.heard

    async def _more(self) -> None:
        # The head of an answer that is taken up wakes too.
        frames = await self._waiter.frames(30.0) or await self._waiter.frames(30.0)
        assert frames, f"no frame came after {self.heard.frames[-1:]}"
        self.heard.frames += frames

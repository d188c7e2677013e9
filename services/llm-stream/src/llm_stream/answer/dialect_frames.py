"""The frames of an answer that is written in a dialect; they resume and stop like all others."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from common.dialects.chat_writer import ChatWriter
from common.dialects.response_writer import NamedEvent, ResponseWriter
from common.events.chat import AnswerRequested, ChatReplyRequested
from llm_stream.answer.backlog import Backlog
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.frames import Frames

RESPONSES = "responses"


def frames_for(
    request: AnswerRequested,
    deadline: float,
    delivery: Delivery,
    before_start: Callable[[], None],
    backlog: Backlog | None = None,
) -> Frames:
    """The frames of an answer, in the dialect of its request where that has one."""
    dialect = request.dialect if isinstance(request, ChatReplyRequested) else None
    if dialect is None:
        return Frames(request, deadline, delivery, before_start, backlog)
    if dialect.name == RESPONSES:
        events = ResponseFrames(request, deadline, delivery, before_start, backlog)
        told = {**dialect.told, **_told_of_session(request)}
        events.writer = ResponseWriter(request.request_id, int(request.received_at), request.body, told)
        return events
    chunks = ChatFrames(request, deadline, delivery, before_start, backlog)
    chunks.writer = ChatWriter(dialect.name, dialect.told)
    return chunks


def _told_of_session(request: AnswerRequested) -> dict[str, Any]:
    """What a response tells again of how it is kept, and of the one that it follows."""
    use = request.session if isinstance(request, ChatReplyRequested) else None
    if use is None or not use.store:
        return {}
    previous = use.previous and f"resp_{use.previous.removeprefix('chatcmpl-')}"
    return {"store": True, "previous_response_id": previous or None}


class ChatFrames(Frames):
    """The chunks of a voice platform: each is one of OpenAI's with something in it."""

    writer: ChatWriter

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Send one SSE message."""
        super().emit(self.writer.chunk(data), tokens=tokens, text=text)

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """Send an answer that is not streamed."""
        super().emit_whole(self.writer.whole(body), tokens=tokens)


class ResponseFrames(Frames):
    """The named events of a response, one in each frame: the number of a frame tells that of its event."""

    writer: ResponseWriter

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Send the events of one chunk."""
        if self._muted:
            return
        if tokens and self.first_token_at is None:
            self._note_first_token()
        self._send(self.writer.chunk(data), tokens)
        if text:
            # The last of these events says it.
            self._texts.append(text)
            self._texts_at.append(self.count)

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """Send a response that is not streamed."""
        super().emit_whole(self.writer.whole(body), tokens=tokens)

    def emit_error(self, body: bytes) -> None:
        """Tell a client that already listens that the response failed."""
        self._send(self.writer.failure(orjson.loads(body)["error"]), 0)

    def _send(self, events: Iterable[NamedEvent], tokens: int) -> None:
        """Send events; the tokens are told with the last one, which says them."""
        sent = list(events)
        for at, event in enumerate(sent, 1):
            payload = b"event: %b\nid: %d\ndata: %b\n\n" % (event.name.encode(), self.count + 1, event.data)
            self._add_data(payload, tokens if at == len(sent) else 0)

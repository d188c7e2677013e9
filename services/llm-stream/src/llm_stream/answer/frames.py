"""The frames of one answer: numbered, counted, and handed to its backlog."""

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable

from common.bus.live.frames import FrameKind, made
from common.bus.request_reply import refusal_to
from common.events.chat import AnswerRequested, AnswerStart
from common.events.model_json import to_json
from common.failures import Refused
from common.metrics import labelled
from llm_stream.answer.backlog import Backlog
from llm_stream.answer.delivery import Delivery
from llm_stream.metrics import FIRST_TOKEN


class Frames:
    """Frames are numbered from 1; frame 1 is START, the last one END.

    They are kept until the turn ends, so that a client which dropped can attach again through any gateway instance.
    `before_start` is called before the first frame is sent.
    """

    def __init__(
        self,
        request: AnswerRequested,
        deadline: float,
        delivery: Delivery,
        before_start: Callable[[], None],
        backlog: Backlog | None = None,
    ) -> None:
        self.backlog = backlog or Backlog(request.request_id, delivery)
        self.count = 0
        self.delivered_tokens = 0  # in all frames so far
        self.delivery = delivery
        self.first_token_at: float | None = None
        self.last_byte_at: float | None = None
        self._continuable = True
        self._request = request
        self._request_id = request.request_id
        self._deadline = deadline
        self._before_start = before_start
        # Memory that is short forgets them, where nobody needs them later.
        self._texts = self.backlog.texts
        self._texts_at = array("I")  # the frames that say them
        self._round_begins = 0  # in the texts
        # What the client had heard before this answer, where it takes an earlier one up.
        self._heard_before = ""
        self._tokens_at = array("I", [0])  # released tokens after frame number i
        self._muted = False
        self._tokens_before = 0

    @property
    def begun(self) -> bool:
        """Whether the client has been promised an answer: from here on errors travel in band."""
        return self.count > 0

    def begin_round(self) -> None:
        """What was sent so far stands: the model is asked anew, and nobody goes on from there."""
        self._round_begins = len(self._texts)
        self._heard_before = ""
        self._tokens_before = self.delivered_tokens
        self._continuable = True

    @property
    def continuable(self) -> bool:
        """Whether another upstream may go on behind the text that was released, or begin anew where there is none."""
        return self._continuable and not self.backlog.texts_forgotten

    def said_for_good(self) -> None:
        """From here on nobody can go on with the answer of this round."""
        self._continuable = False

    @property
    def released_text(self) -> str:
        """All text that was sent to the client in this round."""
        return self._heard_before + "".join(self._texts[self._round_begins :])

    def go_on_from(self, text: str) -> None:
        """The client has heard this text before: an upstream goes on behind it."""
        self._heard_before = text

    def characters_up_to(self, number: int | None) -> int:
        """Characters of the text in the frames up to this number, over all rounds; in all frames where it is None."""
        count = len(self._texts) if number is None else bisect_right(self._texts_at, number)
        return sum(map(len, self._texts[:count]))

    @property
    def released_tokens(self) -> int:
        """Tokens in the frames of this round."""
        return self.delivered_tokens - self._tokens_before

    def tokens_up_to(self, number: int | None) -> int:
        """Tokens in the frames up to this number; in all frames where it is None or was never sent."""
        known = number is not None and number < len(self._tokens_at)
        return self._tokens_at[number] if known and number is not None else self.delivered_tokens

    def start(self, headers: dict[str, str], *, kept_bytes: int = 0) -> None:
        """Begin the answer, unless it has begun; `headers` are for the HTTP response.

        A body of `kept_bytes` lies in the live store and follows in no frame.
        """
        if not self.count:
            self._before_start()
            request, kept = self._request, {"kept_bytes": kept_bytes} if kept_bytes else {}
            start = AnswerStart(headers=headers, session_id=request.session_id, deadline=self._deadline, **kept)
            self._add(FrameKind.START, to_json(start, exclude_unset=True))

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Send one SSE message (the JSON or `[DONE]` behind `data:`); nothing where the answer is muted."""
        if self._muted:
            return
        if text:
            self._texts.append(text)
            self._texts_at.append(self.count + 1)
        if tokens and self.first_token_at is None:
            self._note_first_token()
        # As `_add_data`: every chunk comes by here, and a call costs as much as all that it does.
        self.count = number = self.count + 1
        self.delivered_tokens += tokens
        self._tokens_at.append(self.delivered_tokens)
        self.last_byte_at = time.time()
        self.backlog.add(made(self._request_id, FrameKind.DATA, number, b"id: %d\ndata: %b\n\n" % (number, data)))

    def _note_first_token(self) -> None:
        self.first_token_at = time.time()
        labelled(FIRST_TOKEN, self._request.model).observe(self.first_token_at - self._request.received_at)

    def check(self) -> None:
        """Nobody ends an answer here."""

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """Send an answer that is not streamed; nothing where the answer is muted."""
        if self._muted:
            return
        self.first_token_at = time.time()
        self._add_data(body, tokens)

    def emit_error(self, body: bytes) -> None:
        """Tell a client that already listens that the answer failed; no `[DONE]` follows."""
        self._add_data(b"id: %d\ndata: %b\n\n" % (self.count + 1, body), 0)

    def end(self, how: bytes) -> None:
        """Close the answer with how it ended, an `AnswerEnd` as JSON."""
        self._add(FrameKind.END, how)

    def refuse(self, refused: Refused) -> None:
        """Close an answer whose frames are lost, outside the order: a number would be taken for a repetition."""
        self.backlog.add_aside(refusal_to(self._request_id, refused))

    def mute(self) -> None:
        """Send nothing more of the answer but how it ended."""
        self._muted = True

    def _add_data(self, payload: bytes, tokens: int) -> None:
        self.delivered_tokens += tokens
        self.last_byte_at = time.time()
        self._add(FrameKind.DATA, payload)

    def _add(self, kind: int, payload: bytes) -> None:
        self.count += 1
        self._tokens_at.append(self.delivered_tokens)
        self.backlog.add(made(self._request_id, kind, self.count, payload))

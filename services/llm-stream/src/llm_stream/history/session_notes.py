"""What is found out about a turn's session while it is answered, for what the session is to keep of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from common.events.chat import ChatReplyRequested
from common.events.session_summary import RollingSummary
from common.events.session_turns import SessionTurn
from llm_stream.history.rolling_summary import ToSumUp

Message: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["off", "metadata", "full"]


@dataclass(slots=True)
class SessionNotes:
    """What the session keeps of a turn. `line` are the turns before it, `messages` what is new in it.

    `fresh`: the session has nothing yet. Where the turn takes an answer up, `before` is what the user had heard of the
    message that goes on, and `earlier` what was said first of those before it.
    """

    mode: Mode
    line: Sequence[SessionTurn] = ()
    messages: Sequence[Message] = ()
    fresh: bool = False
    before: str = ""
    earlier: str = ""
    # The end of the answer, where that is not the text that was sent: a whole answer, or one with calls.
    said: Message = field(default_factory=dict)
    # What was said first, in short, where the config wants that and it was made.
    summary: RollingSummary | None = None
    # What is to be summed up once the answer is out.
    to_sum_up: ToSumUp | None = None


def kept_mode(request: ChatReplyRequested, rules: Any, most: Mode) -> Mode:
    """What is kept of a turn: `most` at the most, and the texts only where the request or the config asks for them.

    Sessions that nobody named and nobody wants kept leave nothing. An answer of several choices goes on from none.
    """
    if most == "off":
        return "off"
    wanted = None if request.session is None else request.session.store
    if wanted is None:
        wanted = rules.get("store")
    if wanted and most == "full" and (request.body.get("n") or 1) == 1:
        return "full"
    return "metadata" if wanted or is_named(request) else "off"


def is_named(request: ChatReplyRequested) -> bool:
    """Whether its caller called the session something."""
    return request.session_id != request.request_id

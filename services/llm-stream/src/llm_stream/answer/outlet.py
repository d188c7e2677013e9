"""What the stages send an answer into: its frames, or what stands before them and looks at what leaves."""

from typing import Protocol

from llm_stream.answer.backlog import Backlog
from llm_stream.answer.delivery import Delivery


class Outlet(Protocol):
    """As `Frames`, whose words these are."""

    @property
    def continuable(self) -> bool: ...

    @property
    def last_byte_at(self) -> float | None: ...

    @property
    def begun(self) -> bool: ...

    @property
    def released_text(self) -> str: ...

    @property
    def released_tokens(self) -> int: ...

    @property
    def delivery(self) -> Delivery: ...

    @property
    def backlog(self) -> Backlog: ...

    def start(self, headers: dict[str, str], *, kept_bytes: int = 0) -> None:
        """Begin the answer, unless it has begun."""
        ...

    def said_for_good(self) -> None:
        """From here on nobody can go on with the answer of this round."""
        ...

    def go_on_from(self, text: str) -> None:
        """The client has heard this text before: an upstream goes on behind it."""
        ...

    def begin_round(self) -> None:
        """What was sent so far stands."""
        ...

    def emit(self, data: bytes, *, tokens: int = 0, text: str = "") -> None:
        """Send one SSE message. Raises CutShort where the answer is to end here."""
        ...

    def check(self) -> None:
        """Raises CutShort or AnswerFailed where the answer is to end here."""
        ...

    def emit_whole(self, body: bytes, *, tokens: int) -> None:
        """Send an answer that is not streamed."""
        ...

"""The rolling summary of a session, as it travels and is kept."""

from common.events.spec import Payload


class RollingSummary(Payload):
    """What was said first in a session, in short: its first `messages`, instructions not counted.

    `last` tells the last of these from others. `text` is empty until it is made, which was asked for at `asked_at` of
    the alias `model`. Times are unix seconds.
    """

    session_id: str
    messages: int
    last: str
    model: str
    asked_at: float
    text: str = ""
    made_at: float | None = None

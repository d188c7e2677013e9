"""A stop, as it was signalled or as it was found necessary here."""

from dataclasses import dataclass

from common.events.chat import StopReason


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and when (unix seconds) an answer is to stop; the rest is what a gateway knows of it."""

    reason: StopReason
    signal_at: float
    # The number of the last frame that left the gateway, and when.
    delivered: int | None = None
    last_byte_at: float | None = None
    # The request was never accepted: no turn, no fact.
    withdrawn: bool = False
    # Seconds from the signal in which the client may still take its answer up.
    grace: float = 0.0
    # Who waits for the receipt, if anybody does.
    reply_to: str | None = None
    ask_id: str = ""

"""Turns: every end of a chat reply is kept once, whichever of its facts comes first."""

from common.events.chat import ChatReplyEnded
from telemetry.ports import Outcome, Turns


async def store(end: ChatReplyEnded, outcome: Outcome, turns: Turns) -> None:
    """Keep a turn; raises `Unavailable` while the store is away, `Park` for a turn it can never hold."""
    await turns.add(end, outcome)

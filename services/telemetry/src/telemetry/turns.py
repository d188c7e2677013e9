"""Turns: every end of a chat reply or of embeddings is kept once, whichever of its facts comes first."""

from common.events.chat import AnswerEnded
from telemetry.ports import Outcome, Turns


async def store(end: AnswerEnded, outcome: Outcome, turns: Turns) -> None:
    """Keep a turn; raises `Unavailable` while the store is away, `Park` for a turn it can never hold."""
    await turns.add(end, outcome)

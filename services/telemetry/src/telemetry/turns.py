"""Turns: every end of a chat reply or of embeddings is kept once, whichever of its facts comes first."""

from telemetry.ports import Ended, Outcome, Turns


async def store(end: Ended, outcome: Outcome, turns: Turns) -> None:
    """Keep a turn; raises `Unavailable` while the store is away, `Park` for a turn it can never hold."""
    await turns.add(end, outcome)

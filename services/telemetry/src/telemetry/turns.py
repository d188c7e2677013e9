"""Turns: every end of a chat reply or of embeddings is kept once, whichever of its facts comes first."""

from common.events.chat import AnswerEnded, ChatReplyEnded
from telemetry.deps import Deps
from telemetry.interactions import own_turns
from telemetry.ports import Outcome, Turns


async def store(end: AnswerEnded, outcome: Outcome, turns: Turns) -> None:
    """Keep a turn; raises `Unavailable` while the store is away, `Park` for a turn it can never hold."""
    await turns.add(end, outcome)


async def store_chat(end: ChatReplyEnded, outcome: Outcome, deps: Deps) -> None:
    """Keep a turn for the sums of usage, and as an interaction like those of any app; raises as `store`."""
    await store(end, outcome, deps.turns)
    await own_turns.keep(end, outcome, deps.terms, deps.interactions)

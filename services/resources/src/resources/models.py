"""The model that drafts tools: its port, and the drafts that are under way with it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.events.reply import Reply

Message = Mapping[str, str]


class Model(Protocol):
    """A model that is asked to answer in JSON."""

    name: str

    async def complete(self, messages: Sequence[Message]) -> str:
        """What it says, which may be anything. Raises `ProviderDown`."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """The model that drafts, None where there is none; `seconds` is how long a draft and its repairs may take."""

    model: Model | None
    seconds: float
    # Drafts under way by the event that asked: a second delivery waits for what becomes of the first.
    flights: dict[str, "asyncio.Task[Reply]"] = field(default_factory=dict)

    async def close(self) -> None:
        """End what is under way; its commands were not answered, and are done when they come again."""
        flights = list(self.flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

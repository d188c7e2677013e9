"""The model that drafts tools: its port, and the drafts that are under way with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.events.reply import Reply
from common.events.resource_replies import ToolReply
from common.kernel.single_flight import SingleFlight

Message = Mapping[str, str]


class DraftingModel(Protocol):
    """A model that is asked to answer in JSON."""

    name: str

    async def complete(self, messages: Sequence[Message]) -> str:
        """Its answer, which may be anything. Raises `ProviderDown`."""


def _flights() -> SingleFlight[str, Reply[ToolReply]]:
    return SingleFlight("draft")


@dataclass(frozen=True, slots=True)
class Drafting:
    """The model that drafts, None where there is none; `seconds` is how long a draft and its repairs may take."""

    model: DraftingModel | None
    seconds: float
    # Drafts under way by the event that asked: a second delivery waits for what becomes of the first.
    flights: SingleFlight[str, Reply[ToolReply]] = field(default_factory=_flights)

    async def close(self) -> None:
        """End what is under way; its commands were not answered, and are done when they come again."""
        await self.flights.close()

"""The model that drafts tools, and the drafts that are in flight with it."""

from dataclasses import dataclass, field

from common.events.reply import Reply
from common.events.resource_replies import ToolReply
from common.kernel.single_flight import SingleFlight
from resources.ports import DraftingModel


def _flights() -> SingleFlight[str, Reply[ToolReply]]:
    return SingleFlight("draft")


@dataclass(frozen=True, slots=True)
class Drafting:
    """The model that drafts, None where there is none; `seconds` is how long a draft and its repairs may take."""

    model: DraftingModel | None
    seconds: float
    # Drafts in flight by the event that asked: a second delivery waits for what becomes of the first.
    flights: SingleFlight[str, Reply[ToolReply]] = field(default_factory=_flights)

    async def close(self) -> None:
        """End what is under way; its commands were not answered, and are done when they come again."""
        await self.flights.close()

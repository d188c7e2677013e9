"""What the creator needs from outside, beside speech, video and analysis."""

from collections.abc import Sequence
from typing import Protocol


class ScriptWriter(Protocol):
    """A model that writes scripts."""

    @property
    def name(self) -> str:
        """What it is called in scripts and in the trail of a job."""

    async def write(self, conversation: Sequence[dict[str, str]]) -> str:
        """What the model answers, meant to be JSON. Raises Refused and ProviderDown."""

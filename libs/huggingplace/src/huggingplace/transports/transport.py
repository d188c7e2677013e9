"""What carries batches away: the interface, for transports of your own too."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

from huggingplace.errors import DeliveryError
from huggingplace.json_text import decode


@dataclass(frozen=True)
class Batch:
    """What is sent at once: the JSON text of each interaction, step or score (field `kind`)."""

    bodies: tuple[bytes, ...]

    @cached_property
    def items(self) -> tuple[dict[str, Any], ...]:
        """The same as objects."""
        return tuple(decode(body) for body in self.bodies)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(item["id"] for item in self.items)

    def __len__(self) -> int:
        return len(self.bodies)


# For each of a batch: None where it was taken, and else what happened. RefusedError is final, others are tried again.
Verdicts = Sequence[Optional[DeliveryError]]


class Transport(abc.ABC):
    """Carries batches from one thread of its own; a fork gets a new one through `fresh`."""

    # Records wait in a spool of their own for each name: what was meant for one place never goes to another.
    name = "custom"

    @abc.abstractmethod
    def send(self, batch: Batch) -> Verdicts | None:
        """Deliver it all, and return None; or a verdict for each.

        Raises a DeliveryError for the batch as a whole; anything else that is raised counts as one that may pass.
        Returns, or raises, within the client's `timeout`: `close` waits for it no longer than its own.
        """

    def close(self) -> None:  # noqa: B027 - not every transport holds something
        """Give up connections and files. Called once, from any thread."""

    def forget(self) -> None:
        """In a forked process: drop connections of the parent without using them."""
        self.close()

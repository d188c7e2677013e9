"""Who makes videos, in the order in which they are tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class VideoStudio:
    """The providers that a process has."""

    providers: Sequence[Any]

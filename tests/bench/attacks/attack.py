"""What an attack is: its name, what it does to a system, and what it needs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from tests.bench.attacks.ground import Ground


class Attack(ABC):
    """One kind of harm, done to a running system until the time is over.

    `part` is the part of the plan that it belongs to. A `caged` one runs while each process has the memory of its
    container. `settings` go to `sonant up`; UPSTREAM in them stands for the address of the hostile upstream.
    """

    name: ClassVar[str]
    part: ClassVar[str]
    caged: ClassVar[bool] = False
    embedded_only: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @abstractmethod
    async def run(self, ground: Ground) -> None:
        """Attack until `ground.over`; raises BenchError where the system cannot be brought into place for it."""

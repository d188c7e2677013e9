"""The stand-in of Runware in tests: what it was asked, and what it charged."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.app import serve
from tests.support.media_load import ACCOUNT

CLIP: Mapping[str, Any] = {"model": "klingai:6@1", "duration": 5.0, "width": 1280, "height": 720}
# One that is rendered here in no time as well.
SMALL: Mapping[str, Any] = {"model": "luma:ray@3.2", "duration": 0.5, "width": 160, "height": 128}


@dataclass(frozen=True)
class RunwareSandbox:
    """One that runs."""

    url: str

    async def arrange(self, *faults: Mapping[str, Any], **order: Any) -> None:
        """How later requests fare; what is left out goes back to normal."""
        async with httpx.AsyncClient() as client:
            answer = await client.put(f"{self.url}/sandbox/runware/{ACCOUNT}", json={"faults": faults, **order})
        assert answer.status_code == 200, answer.text

    async def afresh(self) -> None:
        """Forget what was asked and how it was to fare."""
        async with httpx.AsyncClient() as client:
            await client.delete(f"{self.url}/sandbox/runware/{ACCOUNT}")

    async def totals(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            found: dict[str, Any] = (await client.get(f"{self.url}/sandbox/runware/{ACCOUNT}")).json()
        return found

    async def charges(self) -> list[int]:
        """How often each task was charged that was charged at all."""
        return list((await self.totals())["charges"].values())


@asynccontextmanager
async def runware_sandbox(folder: Path | None = None) -> AsyncIterator[RunwareSandbox]:
    async with serve(folder=None if folder is None else str(folder)) as url:
        yield RunwareSandbox(url)

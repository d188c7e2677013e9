"""A command run to its end, beside whatever the event loop of the test does."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

SECONDS = 120.0


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    text: str


async def command(*words: str, env: Mapping[str, str] | None = None) -> Done:
    """Run it, both outputs together."""
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    return Done(process.returncode or 0, output.decode(errors="replace"))

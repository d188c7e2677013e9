"""The books: every request that was accepted has its fact, stored once."""

import asyncio
import time
from collections.abc import Collection

import asyncpg

# What a system may need to finish what it had accepted, once the attack is over.
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.5
PAGE = 10_000


async def missing_facts(database_url: str, accepted: Collection[str], patience: float = SETTLE_SECONDS) -> set[str]:
    """Those of the accepted sessions without a fact in the store of telemetry when the patience is over."""
    until = time.monotonic() + patience
    missing = set(accepted)
    while missing:
        missing -= await _known(database_url, missing)
        if not missing or time.monotonic() > until:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return missing


async def _known(database_url: str, sessions: Collection[str]) -> set[str]:
    query = "SELECT session_id FROM telemetry.chat WHERE session_id = ANY($1)"
    connection = await asyncpg.connect(database_url)
    try:
        wanted = list(sessions)
        pages = [wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE)]
        return {row[0] for page in pages for row in await connection.fetch(query, page)}
    finally:
        await connection.close()

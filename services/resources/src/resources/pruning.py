"""What is kept only for a while: answers to commands, for as long as one may be delivered again."""

import asyncio

import structlog

from common.storage.postgres import UNAVAILABLE, Pool

log = structlog.get_logger(__name__)

LOOK_SECONDS = 600.0


async def prune_answers(pool: Pool, keep_seconds: int) -> None:
    """Remove old answers for good."""
    while True:
        try:
            await pool.execute(
                "DELETE FROM resources.answers WHERE at < now() - make_interval(secs => $1)", keep_seconds
            )
        except UNAVAILABLE as error:
            log.info("old answers stay until the next look", error=str(error))
        await asyncio.sleep(LOOK_SECONDS)

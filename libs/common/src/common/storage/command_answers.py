"""The answers to commands, kept for as long as a command may be delivered again."""

import asyncio
from typing import Any

import orjson
import structlog

from common.events.envelope import Event
from common.events.reply import Reply, content
from common.events.spec import RequestSpec
from common.failures import Refused
from common.storage.postgres import UNAVAILABLE, Connection, Executor, Pool

log = structlog.get_logger(__name__)

PRUNE_EVERY_SECONDS = 600.0


class CommandAnswers:
    """The table `answers` of a schema: status and body by the id of the command's event."""

    def __init__(self, schema: str) -> None:
        self._find = f'SELECT status, body FROM "{schema}".answers WHERE event_id = $1'  # noqa: S608
        self._keep = f'INSERT INTO "{schema}".answers (event_id, status, body) VALUES ($1, $2, $3)'  # noqa: S608

    async def keep(self, connection: Connection, event_id: str, answer: Reply[Any] | Refused) -> None:
        """Keep an answer in the transaction of `connection`; raises asyncpg's errors, for a second answer too."""
        body = answer.body() if isinstance(answer, Refused) else content(answer.body)
        await connection.execute(self._keep, event_id, answer.status, orjson.dumps(body).decode())

    async def find(self, executor: Executor, event: Event[Any]) -> Reply[Any] | Refused | None:
        """The answer to a command, None where it was not done yet. Raises asyncpg's errors."""
        row = await executor.fetchrow(self._find, event.id)
        if row is None:
            return None
        status, body = row["status"], orjson.loads(row["body"])
        if status >= 400 or not isinstance(event.spec, RequestSpec):
            return Refused.read(status, body)
        return Reply(event.spec.reply.model_validate(body), status)


async def prune_answers(pool: Pool, schema: str, keep_seconds: int) -> None:
    """Remove answers older than `keep_seconds`, from time to time until cancelled."""
    prune = f'DELETE FROM "{schema}".answers WHERE at < now() - make_interval(secs => $1)'  # noqa: S608
    while True:
        try:
            await pool.execute(prune, keep_seconds)
        except UNAVAILABLE as error:
            log.info("old answers stay for now", error=str(error))
        await asyncio.sleep(PRUNE_EVERY_SECONDS)

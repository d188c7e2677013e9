"""One write: a transaction that holds the change, its audit entry, its facts and its answer, or none of them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import orjson

from common.events.audit import AUDIT_RECORDED, AuditRecorded
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import ResourceRequest
from common.events.spec import EventSpec, Payload
from common.storage.postgres import Pool, transient
from resources import metrics

# Quoted: the class is generic for the type checker only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"

# Questions, the relay and the watch over the database: each is done with one in a moment.
CONNECTIONS_FOR_READS = 3


class Repeated(Exception):
    """The command was done before; `reply` is what was answered then."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("done before")
        self.reply = reply


@dataclass(slots=True)
class Work:
    """A write in hand. `clock` is the organisation's, already advanced; `at` is unix seconds."""

    connection: Connection
    event_id: str
    asked: ResourceRequest
    clock: int
    at: float
    facts: list[Payload] = field(default_factory=list)

    @property
    def org_id(self) -> str:
        return self.asked.org_id

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    async def publish(self, spec: EventSpec[Any], payload: Payload) -> None:
        """Tell a fact, once this write is committed."""
        self.facts.append(payload)
        await self.connection.execute(
            "INSERT INTO resources.outbox (event_id, name, payload) VALUES ($1, $2, $3)",
            self.event_id,
            spec.name,
            payload.model_dump_json(exclude_none=True),
        )

    async def audit(self, action: str, target: str, *, before: object = None, after: object = None) -> None:
        """Leave an entry and its event; `before` and `after` are JSON-serialisable states, kept as digests."""
        entry = {"action": action, "target": target, "before": digest(before), "after": digest(after)}
        asked = self.asked
        id = await self.connection.fetchval(
            "INSERT INTO resources.audit (org_id, key_id, user_id, action, target, before, after, event_id, at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
            asked.org_id,
            asked.key_id,
            asked.user_id,
            *entry.values(),
            self.event_id,
            self.now,
        )
        recorded = AuditRecorded(
            id=id,
            org_id=asked.org_id,
            key_id=asked.key_id,
            user_id=asked.user_id,
            event_id=self.event_id,
            at=self.at,
            **entry,
        )
        await self.publish(AUDIT_RECORDED, recorded)

    async def answer(self, reply: Reply) -> Reply:
        """Keep the answer with the change, for a repetition of the command."""
        await self.connection.execute(
            "INSERT INTO resources.answers (event_id, status, body) VALUES ($1, $2, $3)",
            self.event_id,
            reply.status,
            orjson.dumps(reply.body).decode(),
        )
        return reply


class Works:
    """Where writes begin.

    After each commit `told` is called, since there are facts to relay, and `apply` with the facts themselves: what
    other processes read is brought up to them before the command is answered.
    """

    def __init__(
        self, pool: Pool, told: Callable[[], None], apply: Callable[[Sequence[Payload]], Awaitable[None]]
    ) -> None:
        self._pool = pool
        # A write may wait for its provider, and holds its connection meanwhile; reads go on beside it.
        self._slots = asyncio.Semaphore(max(1, pool.get_max_size() - CONNECTIONS_FOR_READS))
        self._told = told
        self._apply = apply

    @asynccontextmanager
    async def begin(self, event: Event[Any]) -> AsyncIterator[Work]:
        """A write on behalf of a command; writes of one organisation go one after the other.

        Raises `Repeated` for a command that was done, and `Retry` while the database is away.
        """
        async with self._slots, transient(), self._pool.acquire() as connection:
            async with connection.transaction():
                clock = await _advance(connection, event.payload.org_id)
                if done := await _answer(connection, event.id):
                    raise Repeated(done)
                work = Work(connection, event.id, event.payload, clock, time.time())
                yield work
        metrics.RESOURCE_WRITES.labels(event.spec.type).inc()
        self._told()
        await self._apply(work.facts)

    async def answer_to(self, event_id: str) -> Reply | None:
        """What a command was answered with when it was done, if it was; raises `Retry`."""
        async with transient():
            return await _answer(self._pool, event_id)


async def _answer(reader: "Connection | Pool", event_id: str) -> Reply | None:
    row = await reader.fetchrow("SELECT status, body FROM resources.answers WHERE event_id = $1", event_id)
    return None if row is None else Reply(orjson.loads(row["body"]), row["status"])


async def _advance(connection: Connection, org_id: str) -> int:
    clock: int = await connection.fetchval(
        "INSERT INTO resources.organizations (org_id, clock) VALUES ($1, 1)"
        " ON CONFLICT (org_id) DO UPDATE SET clock = organizations.clock + 1 RETURNING clock",
        org_id,
    )
    return clock


def digest(state: object) -> str | None:
    """SHA-256, as lower-case hex, over JSON with sorted keys; None for no state."""
    if state is None:
        return None
    return hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()

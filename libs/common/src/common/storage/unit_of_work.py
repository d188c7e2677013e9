"""The unit of work: a transaction that holds a change, its audit entry, its facts and its answer, or none of them.

A service that has one opens its database with `unit_of_work=True`, which makes the tables in its schema.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import orjson

from common.events.audit import AUDIT_RECORDED, AuditRecorded
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.spec import EventSpec, Payload, R
from common.failures import Refused
from common.storage.command_answers import CommandAnswers
from common.storage.postgres import Connection, Pool, transient

T = TypeVar("T")
Answer: TypeAlias = Reply[Any] | Refused
# After each commit: the command it was done for, and the facts it left.
Committed: TypeAlias = Callable[[Event[Any], Sequence[Payload]], Awaitable[None]]

# Queries, the outbox publisher and the watch over the database: each needs one for a moment.
CONNECTIONS_FOR_READS = 3


class Actor(Protocol):
    """On whose behalf something is done: the fields every command with a unit of work carries."""

    @property
    def org_id(self) -> str: ...

    @property
    def key_id(self) -> str: ...

    @property
    def user_id(self) -> str: ...


class Repeated(Exception):
    """The command was done before; `answer` is the one it got then."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("done before")
        self.answer = answer


@dataclass(slots=True)
class UnitOfWork(Generic[T]):
    """A write in progress. `clock` is the organisation's, already advanced; `at` is unix seconds.

    `tables` are the service's own, on the connection of this transaction.
    """

    connection: Connection
    event_id: str
    actor: Actor
    clock: int
    at: float
    tables: T = field(init=False)
    facts: list[Payload] = field(default_factory=list, init=False)
    _schema: str
    _answers: CommandAnswers

    @property
    def org_id(self) -> str:
        return self.actor.org_id

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    async def publish(self, spec: EventSpec[Any], payload: Payload) -> None:
        """Publish a fact once this unit is committed. Raises asyncpg's errors, as every method here does."""
        self.facts.append(payload)
        await self.connection.execute(
            f'INSERT INTO "{self._schema}".outbox (event_id, name, payload) VALUES ($1, $2, $3)',  # noqa: S608
            self.event_id,
            spec.name,
            payload.model_dump_json(exclude_none=True),
        )

    async def audit(self, action: str, target: str, *, before: object = None, after: object = None) -> None:
        """Leave an entry and its event; `before` and `after` are JSON-serialisable states, kept as digests."""
        entry = {"action": action, "target": target, "before": digest(before), "after": digest(after)}
        actor = self.actor
        id = await self.connection.fetchval(
            f'INSERT INTO "{self._schema}".audit'  # noqa: S608
            " (org_id, key_id, user_id, action, target, before, after, event_id, at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
            actor.org_id,
            actor.key_id,
            actor.user_id,
            *entry.values(),
            self.event_id,
            self.now,
        )
        recorded = AuditRecorded(
            id=id,
            org_id=actor.org_id,
            key_id=actor.key_id,
            user_id=actor.user_id,
            event_id=self.event_id,
            at=self.at,
            **entry,
        )
        await self.publish(AUDIT_RECORDED, recorded)

    async def answer(self, reply: Reply[R]) -> Reply[R]:
        """Keep the answer with the change, for a repetition of the command."""
        await self._answers.keep(self.connection, self.event_id, reply)
        return reply

    async def refuse(self, refused: Refused) -> None:
        """Keep a refusal as the answer: the outcome of work that must not be repeated."""
        await self._answers.keep(self.connection, self.event_id, refused)

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[None]:
        """Roll back at the end what was written inside, and drop its facts."""
        published = len(self.facts)
        attempt = self.connection.transaction()
        await attempt.start()
        try:
            yield
        finally:
            await attempt.rollback()
            del self.facts[published:]


class UnitsOfWork(Generic[T]):
    """Where units of work begin. `tables` opens the service's own tables in one.

    Units of one organisation go one after the other, so its facts are published in the order of their commits, and
    whether a command was done before is known when it begins. `committed` is awaited before the command is answered.
    """

    def __init__(self, pool: Pool, schema: str, *, tables: Callable[[UnitOfWork[T]], T], committed: Committed) -> None:
        self._pool = pool
        self._schema = schema
        self._tables = tables
        self._committed = committed
        self._answers = CommandAnswers(schema)
        # A unit may wait for a provider, and holds its connection meanwhile; reads go on beside it.
        self._slots = asyncio.Semaphore(max(1, pool.get_max_size() - CONNECTIONS_FOR_READS))

    @asynccontextmanager
    async def begin(self, event: Event[Any]) -> AsyncIterator[UnitOfWork[T]]:
        """A unit on behalf of a command, whose payload is an `Actor`.

        Raises `Repeated` for a command that was done, and StoreUnavailableError while the database is away.
        """
        async with self._slots, transient(), self._pool.acquire() as connection:
            async with connection.transaction():
                clock = await self._advance(connection, event.payload.org_id)
                if (done := await self._answers.find(connection, event)) is not None:
                    raise Repeated(done)
                work: UnitOfWork[T] = UnitOfWork(
                    connection, event.id, event.payload, clock, time.time(), self._schema, self._answers
                )
                work.tables = self._tables(work)
                try:
                    yield work
                finally:
                    # They know the work as it knows them: both would stay, with the command, until somebody looks.
                    del work.tables
        await self._committed(event, work.facts)

    async def answer_to(self, event: Event[Any]) -> Answer | None:
        """The answer to a command that was done, else None; raises StoreUnavailableError."""
        async with transient():
            return await self._answers.find(self._pool, event)

    async def _advance(self, connection: Connection, org_id: str) -> int:
        clock: int = await connection.fetchval(
            f'INSERT INTO "{self._schema}".organizations AS known (org_id, clock)'  # noqa: S608
            f' SELECT $1, floor + 1 FROM "{self._schema}".lineage'
            " ON CONFLICT (org_id) DO UPDATE SET clock = greatest(known.clock + 1, EXCLUDED.clock) RETURNING clock",
            org_id,
        )
        return clock


def digest(state: object) -> str | None:
    """SHA-256, as lower-case hex, over JSON with sorted keys; None for no state."""
    if state is None:
        return None
    return hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()

"""Telemetry in tests: facts about turns, what of them is stored, and a gateway that asks for usage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

import asyncpg

from common.events.chat import (
    CHAT_EVENTS,
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    Attempt,
    ChatReplyCompleted,
    ChatReplyFailed,
    ChatReplyInterrupted,
    ReplyError,
    StopReceipt,
    Usage,
)
from common.events.embeddings import (
    EMBEDDINGS_COMPLETED,
    EMBEDDINGS_FAILED,
    EMBEDDINGS_INTERRUPTED,
    EmbeddingsCompleted,
    EmbeddingsFailed,
    EmbeddingsInterrupted,
)
from common.events.envelope import Event
from common.events.telemetry import USAGE_REQUESTED, UsageRequested
from tests.support.mailbox import open_mailbox
from tests.support.service import FakeGateway, World
from tests.support.waiting import eventually

# Turns of long ago are only counted, so these are of yesterday (UTC).
DAY = datetime.now(UTC).date() - timedelta(days=1)
NOON = datetime.combine(DAY, time(12), UTC).timestamp()


def completed(number: int, **fields: Any) -> Event[ChatReplyCompleted]:
    return Event(CHAT_REPLY_COMPLETED, ChatReplyCompleted(**{**_common_fields(number), **fields}))


def interrupted(number: int) -> Event[ChatReplyInterrupted]:
    receipt = StopReceipt(reason="user_interruption", signal_at=NOON + 0.5, generated_tokens=9, delivered_tokens=7)
    return Event(CHAT_REPLY_INTERRUPTED, ChatReplyInterrupted(**_common_fields(number), receipt=receipt))


def failed(number: int) -> Event[ChatReplyFailed]:
    error = ReplyError(status=502, message="No upstream answered.", type="server_error", code="upstream_failed")
    return Event(CHAT_REPLY_FAILED, ChatReplyFailed(**_common_fields(number), error=error))


def embedded(number: int) -> list[Event[Any]]:
    """One of each end of an embeddings request."""
    common = {name: value for name, value in _common_fields(number).items() if name not in ("session_id", "stream")}
    usage = Usage(prompt_tokens=10, total_tokens=10)
    receipt = StopReceipt(reason="client_closed", signal_at=NOON + 0.5)
    error = ReplyError(status=400, message="Too long.", type="invalid_request_error", code="context_length_exceeded")
    done = EmbeddingsCompleted(**{**common, "request_id": f"embd-{number}-a", "usage": usage})
    left = EmbeddingsInterrupted(**{**common, "request_id": f"embd-{number}-b"}, receipt=receipt)
    refused = EmbeddingsFailed(**{**common, "request_id": f"embd-{number}-c"}, error=error)
    return [
        Event(EMBEDDINGS_COMPLETED, done),
        Event(EMBEDDINGS_INTERRUPTED, left),
        Event(EMBEDDINGS_FAILED, refused),
    ]


def _common_fields(number: int) -> dict[str, Any]:
    attempt = Attempt(upstream="one", model="m-1", outcome="answered", started_at=NOON, duration_ms=900.0)
    return {
        "request_id": f"req-{number}",
        "org_id": "org-1",
        "key_id": "key-1",
        "session_id": f"session-{number % 7}",
        "model": "default",
        "stream": True,
        "upstream": "one",
        "upstream_model": "m-1",
        "usage": Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15),
        "cost_usd": 0.001,
        "received_at": NOON,
        "started_at": NOON + 0.01,
        "first_token_at": NOON + 0.1,
        "finished_at": NOON + 1,
        "finish_reason": "stop",
        "attempts": (attempt,),
    }


async def stored(world: World) -> int:
    """Turns that were counted; 0 while the database or the table is not there."""
    try:
        [row] = await world.fetch("SELECT coalesce(sum(turns), 0) AS turns FROM telemetry.usage_days")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return 0
    return int(row["turns"])


async def has(world: World, turns: int, timeout: float = 30) -> None:
    """Wait until exactly so many turns are stored."""

    async def check() -> bool:
        return await stored(world) == turns

    await eventually(check, timeout=timeout)


async def reaches(world: World, turns: int) -> None:
    """Wait until at least so many turns are stored."""

    async def check() -> bool:
        return await stored(world) >= turns

    await eventually(check, timeout=30)


async def all_read(world: World) -> None:
    """Wait until the service has finished every fact."""
    await world.handled(CHAT_EVENTS, "telemetry")


@dataclass(frozen=True)
class UsageGateway(FakeGateway):
    """A gateway that asks for usage."""

    async def ask(self, **fields: Any) -> tuple[int, Any]:
        """Status and body of the reply."""
        asked = {"org_id": "org-1", "since": DAY - timedelta(days=20), "until": DAY + timedelta(days=1), **fields}
        [reply] = await self.deliver(Event(USAGE_REQUESTED, UsageRequested(**asked)))
        return reply.status, reply.body


@asynccontextmanager
async def usage_gateway(world: World) -> AsyncIterator[UsageGateway]:
    async with open_mailbox(world.redis_url) as reader:
        yield UsageGateway(world, reader)

"""Interactions on the harness: batches as a gateway publishes them, and what telemetry makes of them."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from common.events.envelope import Event
from common.events.interaction_ids import new_id
from common.events.interactions import INTERACTIONS, INTERACTIONS_ACCEPTED, InteractionsAccepted
from common.events.spec import RequestSpec
from common.secret_box import SecretBox
from common.storage.sealed_items import seal_items
from tests.support.mailbox import open_mailbox
from tests.support.service import FakeGateway, ServiceProcess, World, started

KEY = "a key of at least thirty-two characters"
BOX = SecretBox([KEY])
# Changes are to be seen within the time of a test.
SETTINGS = {
    "SONANT_SECRET_KEYS": KEY,
    "SONANT_TELEMETRY_SWEEP_SECONDS": "0.3",
    "SONANT_TELEMETRY_POLICY_SECONDS": "0",
}


def item(text: str = "question", at: float | None = None, **fields: Any) -> dict[str, Any]:
    """An interaction as the gateway passes it on."""
    moment = time.time() if at is None else at
    return {"kind": "interaction", "id": new_id(moment), "user_prompt": text, **fields}


def sealed_batch(org_id: str, *items: Mapping[str, Any], **fields: Any) -> Event[InteractionsAccepted]:
    """A batch of an organisation, sealed."""
    now = time.time()
    written = orjson.dumps([[index, each] for index, each in enumerate(items)])
    payload = {
        "org_id": org_id,
        "key_id": "key-1",
        "batch_id": new_id(now),
        "lane": "lane",
        "count": len(items),
        "size": len(written),
        "accepted_at": now,
        "hour": int(now // 3600),
        "source": "gateway-1",
        "confirmed": 0,
        "sealed": seal_items(written, org_id, BOX),
        **fields,
    }
    return Event(INTERACTIONS_ACCEPTED, InteractionsAccepted(**payload), id=str(uuid.uuid4()))


@dataclass(frozen=True)
class InteractionGateway(FakeGateway):
    """A gateway that reports and asks, for one organisation."""

    process: ServiceProcess
    org_id: str = "org-1"

    def of(self, org_id: str) -> "InteractionGateway":
        """The same for another organisation."""
        return replace(self, org_id=org_id)

    def batch(self, *items: Mapping[str, Any], **fields: Any) -> Event[InteractionsAccepted]:
        """A batch of this organisation, sealed."""
        return sealed_batch(self.org_id, *items, **fields)

    async def report(self, *batches: Event[InteractionsAccepted]) -> None:
        """Publish batches, and wait until telemetry has finished them."""
        await self.world.publish(*batches)
        await self.world.handled(INTERACTIONS, "telemetry")

    async def ask(self, spec: RequestSpec[Any, Any], **fields: Any) -> tuple[int, Any]:
        """Status and body of the reply."""
        [reply] = await self.deliver(Event(spec, spec.payload(**{"org_id": self.org_id, **fields})))
        return reply.status, reply.body

    async def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of this organisation, which is $1."""
        return await self.world.fetch(query, self.org_id)

    async def texts(self) -> list[str]:
        """The questions that are stored, in their order."""
        found = await self.rows("SELECT user_prompt FROM telemetry.chat WHERE org_id = $1 ORDER BY at, id")
        return [row["user_prompt"] for row in found]


@asynccontextmanager
async def telemetry_on(world: World, **settings: str) -> AsyncIterator[InteractionGateway]:
    """Telemetry on the engines of a world, and a gateway in front of it."""
    async with started(world, "telemetry", settings={**SETTINGS, **settings}) as process:
        await process.ready()
        async with open_mailbox(world.redis_url) as reader:
            yield InteractionGateway(world, reader, process)

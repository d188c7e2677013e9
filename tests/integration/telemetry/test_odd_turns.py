"""Whatever the fact of a turn can hold is stored, and no query falls over it."""

import asyncio
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg
import pydantic_core
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.events.chat import (
    Attempt,
    ChatReplyCompleted,
    ChatReplyEnded,
    ChatReplyFailed,
    ChatReplyInterrupted,
    ReplyError,
    StopReceipt,
    Usage,
)
from common.events.model_json import from_json
from common.events.telemetry import UsageRequested
from telemetry.adapters.interaction_tables import PostgresInteractions
from telemetry.adapters.partitions import Partitions
from telemetry.adapters.policy_tables import PostgresPolicies
from telemetry.adapters.usage_table import PostgresUsage
from telemetry.interactions import own_turns
from telemetry.interactions.terms import TermsOf
from telemetry.ports import Outcome
from telemetry.settings import TelemetrySettings
from tests.support.service import World, started

WRITERS = 10

texts = st.text(max_size=8) | st.sampled_from(["", "\0", "a\0b", "\\u0000", "x" * 5_000, "Ж" * 900, "'; --"])
counts = st.integers() | st.sampled_from([7, -1, 3_000_000_000, 2**63, -(2**70), 10**400])
numbers = st.floats() | st.sampled_from([0.0, -1e300, 1e300, float("nan"), float("inf"), 2.6e11, -5e12])
attempts = st.builds(
    Attempt,
    upstream=texts,
    model=texts,
    outcome=texts,
    status=st.none() | counts,
    error=st.none() | texts,
    started_at=numbers,
    duration_ms=numbers,
    first_byte_ms=st.none() | numbers,
)
COMMON = {
    "request_id": texts,
    "org_id": texts,
    "key_id": texts,
    "session_id": texts,
    "user_id": st.none() | texts,
    "model": texts,
    "stream": st.booleans(),
    "upstream": st.none() | texts,
    "upstream_model": st.none() | texts,
    "usage": st.builds(
        Usage, prompt_tokens=counts, completion_tokens=counts, total_tokens=counts, estimated=st.booleans()
    ),
    "cost_usd": numbers,
    "received_at": numbers,
    "started_at": numbers,
    "first_token_at": st.none() | numbers,
    "finished_at": numbers,
    "finish_reason": st.none() | texts,
    "attempts": st.lists(attempts, max_size=2).map(tuple),
}
errors = st.builds(
    ReplyError, status=counts, message=texts, type=texts, code=st.none() | texts, param=st.none() | texts
)
receipts = st.builds(
    StopReceipt,
    reason=st.just("client_closed"),
    signal_at=numbers,
    last_byte_at=st.none() | numbers,
    upstream_closed_at=st.none() | numbers,
    generated_tokens=counts,
    delivered_tokens=counts,
)
ends: st.SearchStrategy[Any] = (
    st.tuples(st.just("completed"), st.builds(ChatReplyCompleted, **COMMON))
    | st.tuples(st.just("failed"), st.builds(ChatReplyFailed, **COMMON, error=errors))
    | st.tuples(st.just("interrupted"), st.builds(ChatReplyInterrupted, **COMMON, receipt=receipts))
)


def drawn(count: int) -> list[tuple[Outcome, ChatReplyEnded]]:
    """Ends of turns of every odd kind, the same in each run."""
    found: list[tuple[Outcome, ChatReplyEnded]] = []

    @settings(max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(ends)
    def draw(end: tuple[Outcome, ChatReplyEnded]) -> None:
        found.append(end)

    draw()
    return found


async def test_every_fact_that_can_be_read_is_stored_and_summed(world: World) -> None:
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=2) as pool:
        settings = TelemetrySettings(database_url=world.database_url)
        terms = TermsOf(PostgresPolicies(pool), settings, settings.secret_box())
        facts = [_of_now_and_then(number, *each) for number, each in enumerate(drawn(300), 1)]

        async def stored(share: Sequence[tuple[Outcome, ChatReplyEnded]]) -> None:
            """One after the other, as they come: each is written by itself."""
            interactions = PostgresInteractions(pool, Partitions(pool))
            for outcome, fact in share:
                await own_turns.keep(fact, outcome, terms, interactions)
            await interactions.close()

        # As many processes do: each write waits for company.
        await asyncio.gather(*(stored(facts[first::WRITERS]) for first in range(WRITERS)))
        rows = await pool.fetchval("SELECT count(*) FROM telemetry.chat JOIN telemetry.prompt_details USING (id)")
        assert rows >= 150
        usage, turns = PostgresUsage(pool), 0
        for row in await pool.fetch("SELECT DISTINCT org_id FROM telemetry.usage_days"):
            query = UsageRequested(org_id=row["org_id"], since=date(1900, 1, 1), until=date(9999, 12, 30))
            found = await usage.by_day(query, 5_000)
            assert found
            turns += sum(each.turns for each in found)
        assert turns == len(facts) == 300


def _of_now_and_then(number: int, outcome: Outcome, end: ChatReplyEnded) -> tuple[Outcome, ChatReplyEnded]:
    """Every other one is of now: of those the rows are kept, too."""
    received_at = time.time() if number % 2 else end.received_at
    changed = {"request_id": f"{end.request_id} {number}", "received_at": received_at}
    return outcome, from_json(type(end), _wire(end.model_copy(update=changed)))


def _wire(end: ChatReplyEnded) -> bytes:
    """As another writer may put it: with the numbers that JSON has no names for."""
    return pydantic_core.to_json(end.model_dump(exclude_none=True), inf_nan_mode="constants")

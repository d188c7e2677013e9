"""Whatever the fact of a turn can hold is stored, and no query falls over it."""

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
from telemetry.adapters.turns_table import PostgresTurns, PostgresUsage
from telemetry.ports import Outcome
from tests.support.service import World, started

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
        turns, number = PostgresTurns(pool), 0
        for number, (outcome, end) in enumerate(drawn(300), 1):
            numbered = end.model_copy(update={"request_id": f"{end.request_id} {number}"})
            await turns.add(from_json(type(end), _wire(numbered)), outcome)
        await turns.close()
        assert await pool.fetchval("SELECT count(*) FROM telemetry.turns") == number
        usage = PostgresUsage(pool)
        for org_id in await pool.fetch("SELECT DISTINCT org_id FROM telemetry.turns"):
            query = UsageRequested(org_id=org_id[0], since=date(1900, 1, 1), until=date(9999, 12, 30))
            assert await usage.by_day(query, 5_000)


def _wire(end: ChatReplyEnded) -> bytes:
    """As another writer may put it: with the numbers that JSON has no names for."""
    return pydantic_core.to_json(end.model_dump(exclude_none=True), inf_nan_mode="constants")

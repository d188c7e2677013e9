"""What telemetry promises about turns: each stored once, none lost, whatever dies meanwhile."""

import asyncio

import orjson
import pytest

from common.events.chat import ContextUse
from tests.support.service import World, started
from tests.support.telemetry import NOON, all_read, completed, embedded, failed, has, interrupted, reaches, stored

TURNS = "SELECT * FROM telemetry.chat JOIN telemetry.prompt_details USING (keep, day, org_id, mode, id)"


async def test_a_turn_keeps_what_its_fact_said(world: World) -> None:
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        # Which has no column.
        context = ContextUse(
            window_tokens=2**70, budget_tokens=80, tokens_before=177, tokens=49, estimated_tokens=0, messages_before=12
        )
        await world.publish(completed(1, context=context), interrupted(2), failed(3))
        await has(world, 3)
    rows = await world.fetch(f"{TURNS} ORDER BY request_id")
    assert [row["status"] for row in rows] == ["ok", "interrupted", "error"]
    first, second, third = rows
    assert (first["org_id"], first["key_id"], first["session_id"], first["user_id"]) == (
        "org-1",
        "key-1",
        "session-1",
        None,
    )
    assert (first["prompt_tokens"], first["completion_tokens"], first["total_tokens"]) == (10, 5, 15)
    assert (first["at"].timestamp(), first["ended_at"].timestamp()) == (NOON, NOON + 1)
    assert (first["response_ms"], first["first_token_ms"]) == (1000.0, pytest.approx(100.0, abs=0.01))
    assert orjson.loads(first["metadata"]) == {"stream": True, "upstream_model": "m-1"}
    assert float(first["cost_usd"]) == 0.001
    assert orjson.loads(first["attempts"])[0]["upstream"] == "one"
    assert first["receipt"] is None
    assert first["error"] is None
    assert orjson.loads(second["receipt"])["delivered_tokens"] == 7
    assert orjson.loads(third["error"])["code"] == "upstream_failed"


async def test_embeddings_are_kept_beside_chat_turns_and_told_apart(world: World) -> None:
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        await world.publish(completed(1), *embedded(2), *embedded(2))
        await has(world, 4)
    rows = await world.fetch(f"{TURNS} ORDER BY request_id")
    assert [(row["operation"], row["status"]) for row in rows] == [
        ("embeddings", "ok"),
        ("embeddings", "interrupted"),
        ("embeddings", "error"),
        ("chat", "ok"),
    ]
    done, left, refused, _ = rows
    assert (done["prompt_tokens"], done["completion_tokens"], done["total_tokens"]) == (10, 0, 10)
    assert (done["session_id"], done["first_token_ms"]) == (done["request_id"], None)
    # They are no conversations.
    assert await world.fetch("SELECT session_id FROM telemetry.sessions") == [{"session_id": "session-1"}]
    assert orjson.loads(left["receipt"])["reason"] == "client_closed"
    assert orjson.loads(refused["error"])["code"] == "context_length_exceeded"


async def test_everything_delivered_twice_is_stored_once_and_the_first_end_wins(world: World) -> None:
    facts = [completed(number) for number in range(300)]
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        await world.publish(*facts, *facts)
        await has(world, 300)
        await world.publish(*(failed(number) for number in range(300)), *facts, completed(300))
        await has(world, 301)
        await all_read(world)
    assert await world.fetch("SELECT completed, failed FROM telemetry.usage_days") == [{"completed": 301, "failed": 0}]
    assert await world.fetch("SELECT status, count(*) FROM telemetry.chat GROUP BY status") == [
        {"status": "ok", "count": 301}
    ]
    assert await stored(world) == 301


async def test_kill_9_in_the_middle_of_a_load_loses_and_doubles_nothing(world: World) -> None:
    total = 6000

    async def load() -> None:
        for start in range(0, total, 50):
            await world.publish(*(completed(number) for number in range(start, start + 50)))

    async with started(world, "telemetry") as first:
        await first.ready()
        loading = asyncio.create_task(load())
        await reaches(world, total // 10)
        await first.kill()
    async with started(world, "telemetry") as second:
        await reaches(world, total // 3)
        await second.kill()
    async with started(world, "telemetry"):
        await loading
        await has(world, total, timeout=60)
        await all_read(world)
    assert await stored(world) == total
    assert len(await world.fetch(TURNS)) == total

"""Usage as telemetry tells it: sums by day, model and key, and a plain answer to odd questions."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from common.events.telemetry import UsageList
from sonant_cli.engines import postgres
from tests.support.engines import running
from tests.support.service import World, started, world_on
from tests.support.telemetry import DAY, NOON, all_read, completed, failed, has, interrupted, usage_gateway
from tests.support.waiting import eventually


async def test_usage_sums_up_by_utc_day_model_and_key(world: World) -> None:
    midnight, tomorrow = NOON + 12 * 3600, DAY + timedelta(days=1)
    async with started(world, "telemetry") as telemetry, usage_gateway(world) as gateway:
        await telemetry.ready()
        await world.publish(
            *(completed(1), interrupted(2), failed(3)),
            completed(4, finished_at=midnight - 0.001),
            completed(5, finished_at=midnight),
            completed(6, model="large", key_id="key-2"),
            completed(7, org_id="org-2"),
        )
        await has(world, 7)
        status, body = await gateway.ask()
        assert (status, body["object"], body["has_more"]) == (200, "list", False)
        assert body.keys() == UsageList.model_fields.keys()
        assert [(row["day"], row["model"], row["key_id"], row["turns"]) for row in body["data"]] == [
            (str(DAY), "default", "key-1", 4),
            (str(DAY), "large", "key-2", 1),
            (str(tomorrow), "default", "key-1", 1),
        ]
        assert body["data"][0] == {
            "day": str(DAY),
            "model": "default",
            "key_id": "key-1",
            "turns": 4,
            "completed": 2,
            "interrupted": 1,
            "failed": 1,
            "prompt_tokens": 40,
            "completion_tokens": 20,
            "total_tokens": 60,
            "cost_usd": 0.004,
        }
        _, filtered = await gateway.ask(model="large", key_id="key-2")
        assert [row["model"] for row in filtered["data"]] == ["large"]
        _, last_day = await gateway.ask(since=tomorrow, until=tomorrow)
        assert [row["day"] for row in last_day["data"]] == [str(tomorrow)]


async def test_a_turn_of_long_ago_is_counted_once_and_no_interaction_any_more(world: World) -> None:
    year = 365 * 86_400
    old = completed(1, received_at=NOON - year, finished_at=NOON - year)
    ahead = completed(2, received_at=NOON + year, finished_at=NOON)
    async with started(world, "telemetry") as telemetry, usage_gateway(world) as gateway:
        await telemetry.ready()
        await world.publish(old, ahead, old, completed(3), ahead)
        await all_read(world)
        assert await world.fetch("SELECT request_id FROM telemetry.chat") == [{"request_id": "req-3"}]
        then = DAY - timedelta(days=365)
        _, told = await gateway.ask(since=then, until=then)
        assert [row["turns"] for row in told["data"]] == [1]
        _, told = await gateway.ask()
        assert [(row["day"], row["turns"]) for row in told["data"]] == [(str(DAY), 2)]


ODD_QUESTIONS: list[tuple[dict[str, Any], int]] = [
    ({"since": date(2026, 11, 30), "until": date(2026, 11, 1)}, 400),
    ({"since": date(2020, 1, 1)}, 400),
    ({"since": date(9999, 12, 1), "until": date(9999, 12, 31)}, 200),
    ({"since": date(1, 1, 1), "until": date(1, 1, 2)}, 200),
    ({"model": "nul\0", "org_id": "x" * 100_000}, 200),
]


async def test_odd_questions_get_a_plain_answer(world: World) -> None:
    async with started(world, "telemetry") as telemetry, usage_gateway(world) as gateway:
        await telemetry.ready()
        for fields, status in ODD_QUESTIONS:
            got, body = await gateway.ask(**fields)
            assert got == status, fields
            assert body.get("data", []) == []
            assert got == 200 or body["error"]["type"] == "invalid_request_error"


async def test_a_question_while_the_database_is_away_is_answered_so(valkey_url: str, tmp_path: Path) -> None:
    async with (
        running(postgres) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world, "telemetry") as telemetry,
        usage_gateway(world) as gateway,
    ):
        await telemetry.ready()
        await database.stop()
        status, body = await gateway.ask()
        assert (status, body["error"]["code"]) == (503, "database_unavailable")
        await database.start()

        async def answered() -> bool:
            return (await gateway.ask())[0] == 200

        await eventually(answered)

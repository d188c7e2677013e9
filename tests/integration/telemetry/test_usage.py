"""Usage as telemetry tells it: sums by day, model and key, and a plain answer to odd questions."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from common.events.telemetry import UsageList
from sonant_cli.engines import postgres
from tests.support.engines import running
from tests.support.service import World, started, world_on
from tests.support.telemetry import completed, failed, has, interrupted, usage_gateway
from tests.support.waiting import eventually


async def test_usage_sums_up_by_utc_day_model_and_key(world: World) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
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
            ("2026-11-21", "default", "key-1", 4),
            ("2026-11-21", "large", "key-2", 1),
            ("2026-11-22", "default", "key-1", 1),
        ]
        assert body["data"][0] == {
            "day": "2026-11-21",
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
        _, last_day = await gateway.ask(since=date(2026, 11, 22), until=date(2026, 11, 22))
        assert [row["day"] for row in last_day["data"]] == ["2026-11-22"]


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

"""Interactions that are reported over HTTP are stored, each once, whatever comes with them."""

import json

from tests.support.clients import client
from tests.support.ingest import BATCH, SINGLE, curl, ingest_key, interaction, stored
from tests.support.sonant import Sonant


async def test_the_request_of_a_caller_that_posts_by_hand_is_two_rows(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    body = {
        "user_prompt": "What's the weather?",
        "ai_response": "It's sunny today.",
        "metaData": {"sessionId": "123"},
        "user_meta_data": {"plan": "free"},
        "org_id": key.organization,
        "mode": "prod",
        "user_id": "u-1",
        "file_name": "sales.csv",
        "llm_model": "gpt-4o",
        "token_count": {"prompt": 11, "completion": 7},
        "step_data": [{"name": "retrieve", "steps": [{"name": "embed", "duration_ms": 3}]}],
        "response_time": 812.5,
    }
    answer = json.loads(
        await curl(
            f"{sonant.url}{SINGLE}",
            *("-H", f"Authorization: Bearer {key.text}", "-H", "Content-Type: application/json"),
            *("-d", json.dumps(body)),
        )
    )
    assert answer["success"] is True
    [row] = await stored(sonant, key, 1)
    assert str(row["id"]) == answer["id"]
    found = {name: row[name] for name in ("user_prompt", "ai_response", "session_id", "user_id", "mode", "llm_model")}
    assert found == {
        "user_prompt": "What's the weather?",
        "ai_response": "It's sunny today.",
        "session_id": "123",
        "user_id": "u-1",
        "mode": "prod",
        "llm_model": "gpt-4o",
    }
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (11, 7, 18)
    assert row["response_ms"] == 812.5


async def test_a_batch_is_stored_and_the_same_ids_again_change_nothing(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    items = [interaction(number) for number in range(100)]
    async with client(sonant.url, key.headers) as http:
        first = (await http.post(BATCH, json={"items": items})).json()
        again = (await http.post(BATCH, json={"items": items})).json()
        assert [result["status"] for result in first["results"]] == [202] * 100
        assert again["accepted"] == 100
        assert len(await stored(sonant, key, 100)) == 100

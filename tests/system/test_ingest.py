"""Interactions that are reported over HTTP are stored, each once, whatever comes with them."""

import json
from urllib.parse import quote

from tests.support.clients import chat, client
from tests.support.ingest import BATCH, SINGLE, command, curl, fates, ingest_key, interaction, new_id, stored
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


async def test_a_session_is_read_with_its_turns_steps_and_scores(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    steps = [{"name": "retrieve", "type": "retrieval", "duration_ms": 12, "steps": [{"name": "embed"}]}, "a note"]
    first = interaction(1, session_id="s/1 é", user_id="u-1", step_data=steps, llm_model="m-1", token_count=5)
    second = interaction(2, session_id="s/1 é", status="error", error={"type": "Timeout"}, llm_model="m-2")
    other = interaction(3, mode="dev")
    async with client(sonant.url, key.headers) as http:
        told = (await http.post(BATCH, json={"items": [first, second, other]})).json()
        settled = await fates(http, told["batch_id"])
        assert [item["state"] for item in settled["items"]] == ["stored"] * 3
        scored = await http.post(f"/v2/interactions/{first['id']}/scores", json={"name": "helpful", "value": 0.5})
        assert scored.status_code == 202, scored.text
        await fates(http, scored.json()["batch_id"])

        listed = (await http.get("/v2/sessions", params={"mode": "prod"})).json()
        [session] = listed["data"]
        assert (session["session_id"], session["turns"], session["errors"]) == ("s/1 é", 2, 1)
        shown = (await http.get(f"/v2/sessions/{quote('s/1 é', safe='')}", params={"limit": 1})).json()
        [turn] = shown["data"]
        assert (turn["id"], turn["user_prompt"], turn["scores"][0]["value"]) == (first["id"], "question 1", 0.5)
        assert [(step["name"], len(step["steps"])) for step in turn["steps"]] == [("retrieve", 1), ("step 2", 0)]
        rest = (await http.get("/v2/sessions/s%2F1%20%C3%A9", params={"after": shown["next"]})).json()
        assert [turn["id"] for turn in rest["data"]] == [second["id"]]
        assert not rest["has_more"]
        one = (await http.get(f"/v2/interactions/{second['id']}")).json()
        assert (one["status"], one["error"]) == ("error", {"type": "Timeout"})
        assert (await http.get("/v2/interactions/nonsense")).status_code == 404


async def test_pages_of_sessions_meet_without_a_gap(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    items = [interaction(number, session_id=f"session-{number}") for number in range(25)]
    async with client(sonant.url, key.headers) as http:
        await fates(http, (await http.post(BATCH, json={"items": items})).json()["batch_id"])
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = (await http.get("/v2/sessions", params={"limit": 10, **after})).json()
            found += [session["session_id"] for session in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": page["next"]}
    assert sorted(found) == sorted(item["session_id"] for item in items)


async def test_the_ledger_says_what_became_of_what_was_accepted(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    items = [interaction(number) for number in range(10)]
    async with client(sonant.url, key.headers) as http:
        await fates(http, (await http.post(BATCH, json={"items": items})).json()["batch_id"])
        again = await fates(http, (await http.post(BATCH, json={"items": items[:3]})).json()["batch_id"])
        assert [item["state"] for item in again["items"]] == ["repeated"] * 3

        async def told() -> dict[str, int]:
            hours = (await http.get("/v2/ledger")).json()["data"]
            names = ("accepted", "stored", "sampled_out", "parked", "repeated", "missing")
            return {name: sum(hour[name] for hour in hours) for name in names}

        assert await told() == {
            "accepted": 13,
            "stored": 10,
            "sampled_out": 0,
            "parked": 0,
            "repeated": 3,
            "missing": 0,
        }


async def test_an_organisation_reads_nothing_of_another(sonant: Sonant) -> None:
    key, stranger = ingest_key(sonant), ingest_key(sonant)
    item = interaction(session_id="theirs", user_id="somebody")
    async with client(sonant.url, key.headers) as http, client(sonant.url, stranger.headers) as other:
        told = (await http.post(BATCH, json={"items": [item]})).json()
        await fates(http, told["batch_id"])
        assert (await other.get(f"/v2/ingest/{told['batch_id']}")).status_code == 404
        assert (await other.get(f"/v2/interactions/{item['id']}")).status_code == 404
        assert (await other.get("/v2/sessions/theirs")).status_code == 404
        assert (await other.get("/v2/sessions")).json()["data"] == []
        assert (await other.get("/v2/ledger")).json()["data"] == []
        # The same id is another interaction in another organisation, and a score of it is nobody else's.
        await fates(other, (await other.post(BATCH, json={"items": [item]})).json()["batch_id"])
        scored = await other.post(f"/v2/interactions/{item['id']}/scores", json={"name": "bad", "value": 0})
        await fates(other, scored.json()["batch_id"])
        assert (await http.get(f"/v2/interactions/{item['id']}")).json()["scores"] == []
        wrong = await http.post(SINGLE, json={**interaction(), "org_id": stranger.organization})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (403, "wrong_organization")


async def test_only_a_key_with_the_scope_reports_and_only_an_administrator_reads(sonant: Sonant) -> None:
    chat, ingest = ingest_key(sonant, scopes=["chat"]), ingest_key(sonant, scopes=["ingest"])
    async with client(sonant.url, chat.headers) as http:
        assert (await http.post(SINGLE, json=interaction())).status_code == 403
    async with client(sonant.url, ingest.headers) as http:
        for path in ("/v2/sessions", "/v2/ledger", "/v2/telemetry/policy", f"/v2/interactions/{new_id()}"):
            assert (await http.get(path)).status_code == 403, path
    async with client(sonant.url, {"Authorization": "Bearer sk-sonant-wrong"}) as http:
        assert (await http.post(SINGLE, json=interaction())).status_code == 401


async def test_a_turn_of_our_own_is_an_interaction_with_the_set_that_served_it(sonant: Sonant) -> None:
    key = ingest_key(sonant, scopes=["chat", "resources", "ingest", "admin"])
    headers = {**key.headers, "x-user-id": "u-1", "x-session-id": "call-1"}
    async with client(sonant.url, headers) as http:
        prompt = (await http.post("/api/hume/prompts", json={"name": "p", "text": "Be short."})).json()["prompt"]
        config = (await http.post("/api/hume/configs", json={"name": "c", "evi_version": "3"})).json()["config"]
        pins = {"configId": config["id"], "configVersion": 0, "promptId": prompt["id"], "promptVersion": 0}
        switched = await http.put("/v1/active", json=pins)
        assert switched.status_code == 200, switched.text
        answered = await http.post("/v1/chat/completions", json=chat("What time is it?"))
        assert answered.status_code == 200, answered.text
        [row] = await stored(sonant, key, 1)
        assert (row["origin"], row["session_id"], row["user_id"]) == ("sonant", "call-1", "u-1")
        assert json.loads(row["active_set"])["revision"] == int(switched.headers["etag"].strip('"'))
        assert row["total_tokens"] == answered.json()["usage"]["total_tokens"]
        [turn] = (await http.get("/v2/sessions/call-1")).json()["data"]
        assert turn["attempts"][0]["outcome"]
        assert turn["request_id"] == answered.json()["id"]


async def test_sessions_and_the_ledger_are_shown_on_the_command_line(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    steps = [{"name": "retrieve", "duration_ms": 12, "steps": [{"name": "embed"}]}]
    async with client(sonant.url, key.headers) as http:
        item = interaction(1, session_id="a/session", step_data=steps)
        await fates(http, (await http.post(BATCH, json={"items": [item]})).json()["batch_id"])
    listed = json.loads(await command(sonant, "sessions", "list", "--json", "--key", key.text))
    assert (listed["session_id"], listed["turns"]) == ("a/session", 1)
    shown = await command(sonant, "sessions", "show", "a/session", "--key", key.text)
    assert all(text in shown for text in (item["id"], "question 1", "answer 1", "retrieve", "12 ms", "embed"))
    assert json.loads(await command(sonant, "ledger", "--json", "--key", key.text))["balanced"] is True
    assert "accepted" in await command(sonant, "ledger", "--key", key.text)

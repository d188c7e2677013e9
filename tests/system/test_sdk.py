"""The Python SDK and a whole Sonant: the same rows as by hand, sessions step by step, nothing lost to a kill."""

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from openai import OpenAI

from huggingplace import AuthenticationError, HuggingPlace, HuggingPlaceError, PermissionDeniedError
from tests.support.clients import Key, client, new_key
from tests.support.ingest import SINGLE, ingest_key, rows, stored
from tests.support.sonant import ROOT, Sonant, sonant_system
from tests.support.waiting import eventually

PROGRAM = ROOT / "tests" / "integration" / "huggingplace" / "logging_program.py"
# What two submissions of the same content differ in.
OWN = {"id", "day", "at", "ended_at", "accepted_at", "stored_at", "batch_id"}

MakeClient = Callable[..., HuggingPlace]


def sdk(sonant: Sonant, key: Key, spool: Path, **settings: Any) -> HuggingPlace:
    return HuggingPlace(
        key.text, key.organization, base_url=sonant.url, spool_dir=spool, **{"flush_interval": 0.05, **settings}
    )


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return ingest_key(sonant)


@pytest.fixture
def log(sonant: Sonant, key: Key, tmp_path: Path) -> Iterator[HuggingPlace]:
    with sdk(sonant, key, tmp_path) as made:
        yield made


async def both_tables(sonant: Sonant, key: Key) -> list[dict[str, Any]]:
    """The rows of the two tables as they are, without what is of one submission."""
    await stored(sonant, key, 2)
    found = []
    for table in ("chat", "prompt_details"):
        query = f"SELECT * FROM telemetry.{table} WHERE org_id = $1"  # noqa: S608 - a name of ours
        listed = await rows(sonant, query, key.organization)
        found += [{name: row[name] for name in row if name not in OWN} for row in listed]
    return found


BY_HAND: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "user_prompt": "What's the weather?",
            "ai_response": "It's sunny today.",
            "metaData": {"sessionId": "123"},
            "user_meta_data": {"email": "user@example.com"},
        },
        {
            "user_prompt": "What's the weather?",
            "response": "It's sunny today.",
            "metadata": {"sessionId": "123"},
            "user_metadata": {"email": "user@example.com"},
        },
    ),
    (
        {
            "user_prompt": "Generate SQL",
            "ai_response": "SELECT 1",
            "metaData": {"recommendationId": "r", "n": 1.5},
            "user_meta_data": {"orgName": "Acme"},
            "user_id": "ada",
            "file_name": "sales.csv",
            "llm_model": "gpt-4o",
            "token_count": {"prompt": 11, "completion": 7},
            "step_data": [{"id": "a", "name": "retrieve", "duration_ms": 3, "steps": [{"id": "b", "name": "embed"}]}],
            "response_time": 812.5,
            "session_id": "session-123",
            "mode": "dev",
        },
        {
            "user_prompt": "Generate SQL",
            "response": "SELECT 1",
            "metadata": {"recommendationId": "r", "n": 1.5},
            "user_metadata": {"orgName": "Acme"},
            "user_id": "ada",
            "file_name": "sales.csv",
            "llm_model": "gpt-4o",
            "token_count": {"prompt": 11, "completion": 7},
            "step_data": [{"id": "a", "name": "retrieve", "duration_ms": 3, "steps": [{"id": "b", "name": "embed"}]}],
            "response_time": 812.5,
            "session_id": "session-123",
        },
    ),
]


@pytest.mark.parametrize(("body", "fields"), BY_HAND, ids=["the seed's example", "every field"])
async def test_by_hand_and_by_the_sdk_the_rows_are_the_same(
    sonant: Sonant, key: Key, tmp_path: Path, body: dict[str, Any], fields: dict[str, Any]
) -> None:
    async with client(sonant.url, key.headers) as http:
        answer = await http.post(SINGLE, json={"org_id": key.organization, **body})
        assert answer.status_code == 200, answer.text
    with sdk(sonant, key, tmp_path, mode=body.get("mode", "prod")) as log:
        log.log(**fields)
    chat, chat_too, details, details_too = await both_tables(sonant, key)
    assert chat == chat_too
    assert details == details_too


async def test_the_session_of_the_seed_document_is_read_back_step_by_step(
    sonant: Sonant, key: Key, log: HuggingPlace
) -> None:
    session = log.start_session("session 1/é", user_id="ada", llm_model="gpt-4o")
    with session.step("turn"):
        with session.step("retrieve", type="retrieval") as step:
            with session.step("embed"):
                pass
            step.output = ["doc-1"]
        logged = session.log(
            user_prompt="question",
            response="answer",
            file_name="sales.csv",
            token_count=42,
            metadata={"recommendationId": "r"},
            user_metadata={"email": "ada@example.com"},
            scores={"helpful": 0.5},
        )
    session.log(user_prompt="next", error=TimeoutError("too slow"))
    assert log.flush(20)
    async with client(sonant.url, key.headers) as http:

        async def shown() -> Any:
            found = (await http.get(f"/v2/sessions/{quote('session 1/é', safe='')}")).json()
            turns = found.get("data", [])
            # The step around it ended after the interaction was logged, and came by itself.
            return turns if len(turns) == 2 and turns[0]["scores"] and len(turns[0]["steps"]) == 1 else None

        first, second = await eventually(shown, timeout=30)
    assert first["id"] == logged
    assert (first["user_id"], first["llm_model"], first["total_tokens"]) == ("ada", "gpt-4o", 42)
    [turn] = first["steps"]
    assert turn["name"] == "turn"
    [retrieve] = turn["steps"]
    assert (retrieve["name"], retrieve["type"], retrieve["output"]) == ("retrieve", "retrieval", ["doc-1"])
    assert [inner["name"] for inner in retrieve["steps"]] == ["embed"]
    assert retrieve["duration_ms"] >= retrieve["steps"][0]["duration_ms"] >= 0
    assert (first["scores"][0]["name"], first["scores"][0]["value"]) == ("helpful", 0.5)
    assert (second["status"], second["error"]["type"]) == ("error", "TimeoutError")


async def test_calls_of_a_patched_client_of_openai_through_sonant(sonant: Sonant, key: Key, log: HuggingPlace) -> None:
    chats = new_key(sonant, key.organization)

    def call() -> None:
        with OpenAI(base_url=f"{sonant.url}/v1", api_key=chats.text, max_retries=0) as made:
            openai_client = log.patch_openai(made)
            asked: Any = [{"role": "user", "content": "Say: good morning"}]
            openai_client.chat.completions.create(model="default", messages=asked)
            list(openai_client.chat.completions.create(model="default", messages=asked, stream=True))
            list(openai_client.responses.create(model="default", input="Say: good morning", stream=True))
            with pytest.raises(Exception, match="no-such-model"):
                openai_client.chat.completions.create(model="no-such-model", messages=asked)

    await asyncio.to_thread(call)
    assert log.flush(20)
    found = [row for row in await stored(sonant, key, 7) if row["origin"] == "api"]
    assert [(row["ai_response"], row["status"]) for row in found] == [
        *[("good morning", "ok")] * 3,
        (None, "error"),
    ]
    assert all(row["user_prompt"] == "Say: good morning" for row in found)


def test_a_wrong_key_is_told_and_what_was_logged_waits(sonant: Sonant, key: Key, tmp_path: Path) -> None:
    told: list[HuggingPlaceError] = []
    reader = new_key(sonant, key.organization, scopes=["chat"])
    for wrong, error in (
        (Key("none", "sk-wrong", key.organization), AuthenticationError),
        (reader, PermissionDeniedError),
    ):
        log = sdk(sonant, wrong, tmp_path / error.__name__, on_error=told.append)
        log.log(user_prompt="x")
        assert not log.flush(10)
        assert type(told[-1]) is error
        assert log.counters()["waiting"] == 1
        log.close(1)


def test_a_payload_of_a_megabyte_and_what_no_text_can_hold(sonant: Sonant, key: Key, log: HuggingPlace) -> None:
    text = "Zwölf Boxkämpfer \x00 \ud800 '; DROP TABLE telemetry.chat; -- " * 20_000
    ids = {log.log(user_prompt=text, response=str(number), metadata={"n": float("nan")}) for number in range(3)}
    assert log.flush(30)
    assert log.counters()["refused"] == 0
    found = asyncio.run(stored(sonant, key, 3))
    assert {str(row["id"]) for row in found} == ids
    assert {len(row["user_prompt"]) for row in found} == {len(text)}


async def test_nothing_is_lost_and_nothing_is_there_twice_when_parts_are_killed(tmp_path: Path) -> None:
    with sonant_system() as sonant:
        key = ingest_key(sonant)
        env = {
            **os.environ,
            "HUGGINGPLACE_API_KEY": key.text,
            "HUGGINGPLACE_ORG_ID": key.organization,
            "HUGGINGPLACE_BASE_URL": sonant.url,
            "HUGGINGPLACE_SPOOL_DIR": str(tmp_path / "spool"),
            "HUGGINGPLACE_FLUSH_INTERVAL": "0.05",
            "HUGGINGPLACE_TIMEOUT": "2",
        }
        logged: set[str] = set()
        for victim in ("gateway", "telemetry", "program"):
            output = tmp_path / victim
            command = [sys.executable, str(PROGRAM), "log_at_a_pace"]
            with output.open("wb") as file:
                program = subprocess.Popen(command, env=env, stdout=file)
            try:
                await eventually(functools.partial(is_longer, output, ENOUGH), timeout=30)
                if victim != "program":
                    sonant.kill(victim)
                    # It goes on meanwhile, and is killed itself in the end.
                    await eventually(functools.partial(is_longer, output, 2 * ENOUGH), timeout=30)
            finally:
                program.kill()
                program.wait()
            logged |= {line.decode() for line in output.read_bytes().split(b"\n")[:-1]}
        await eventually(lambda: sonant.ready("gateway", "telemetry"), timeout=60)
        # Sends what the killed programs had logged and not delivered.
        with sdk(sonant, key, tmp_path / "spool", batch_items=500):
            found = await stored(sonant, key, len(logged), timeout=60)
        ids = [str(row["id"]) for row in found]
        assert logged <= set(ids)
        assert len(ids) == len(set(ids))
        async with client(sonant.url, key.headers) as http:

            async def balanced() -> bool:
                hours = (await http.get("/v2/ledger")).json()["data"]
                return bool(hours) and all(hour["missing"] == 0 for hour in hours)

            await eventually(balanced, timeout=30)


# Bytes of ids that a program has printed: some 500.
ENOUGH = 20_000


def is_longer(path: Path, size: int) -> bool:
    return path.stat().st_size > size

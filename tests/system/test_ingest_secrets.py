"""Secrets that callers plant anywhere in an interaction are nowhere to be found: in no table, no topic, no log."""

from typing import Any

import asyncpg
import orjson
import pytest

from common.events.registry import topics
from tests.support.clients import Key, client
from tests.support.ingest import BATCH, SINGLE, command, fates, ingest_key, interaction, new_id, rows, stored
from tests.support.log import log_of
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# One of each built-in rule, and one that only the organisation knows to be secret.
SECRETS = (
    "jane.canary@secret-mail.example",
    "4242 4242 4242 4242",
    "+49 151 5550123456",
    "sk-canary0123456789abcdefghijkl",
    "AKIACANARYCANARYCAN1",
    "eyJjYW5hcnkiOiJjYW5hcnkifQ.eyJjYW5hcnkiOiJjYW5hcnkifQ.c2lnbmF0dXJl",
    "PROJECT-BLUEBIRD-7",
)
SECRET_NUMBER = 4012888888881881
OWN = {"name": "project", "pattern": "PROJECT-[A-Z]+-[0-9]+"}


def planted(secret: str, where: int) -> dict[str, Any]:
    """An interaction with the secret in every field that takes a text."""
    text = f"before {secret} after"
    step = {"name": text, "type": secret[:60], "input": {text: [text]}, "output": text, "error": text,
            "id": secret[:60], "metadata": {text: text}, "steps": [{"name": secret, "note": text}]}  # fmt: skip
    return interaction(
        where,
        user_prompt=[{"role": "user", "content": text}] if where % 2 else text,
        ai_response=text,
        metaData={text: text, "deep": [[{"x": text}]], "card": SECRET_NUMBER, "password": "canary-password"},
        user_meta_data={"email": text},
        user_id=secret,
        session_id=f"{secret}/{where}",
        project_id=secret,
        file_name=f"{secret}.csv",
        llm_model=secret,
        provider=secret,
        step_data=[step, text],
        error={"message": text, "type": text},
        trace_id=secret[:60],
        span_id=secret[:60],
        parent_id=secret[:60],
        tags=[secret, text],
        environment=secret,
        release=secret,
        prompt_version=secret,
        finish_reason=secret[:60],
        **{f"unknown {secret}": text},
    )


async def found_in_tables(sonant: Sonant, needles: list[str]) -> list[str]:
    """Tables with a row that holds one of these, whatever its columns are."""
    tables = await rows(
        sonant,
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    connection = await asyncpg.connect(sonant.urls()["database"])
    found = []
    try:
        for table in tables:
            name = f'"{table["schemaname"]}"."{table["tablename"]}"'
            held = await connection.fetchval(
                f"SELECT count(*) FROM {name} AS held, unnest($1::text[]) AS needle"  # noqa: S608 - of the catalogue
                " WHERE strpos(held::text, needle) > 0",
                needles,
            )
            found += [name] * bool(held)
    finally:
        await connection.close()
    return found


async def found_in_topics(sonant: Sonant, needles: list[str]) -> list[str]:
    """Topics with a record that holds one of these, in its key, headers or value."""
    found = []
    async with log_of(sonant) as log:
        for topic in topics():
            after: dict[int, str] = {}
            while records := await log.read(topic, limit=500, after=after or None):
                held = [(record.key + str(record.headers)).encode() + record.value for record in records]
                found += [topic.name for text in held if any(needle.encode() in text for needle in needles)]
                after = {record.partition.number: record.offset for record in records}
    return found


async def with_own_rule(sonant: Sonant) -> Key:
    """A key of an organisation with a rule of its own that holds by now."""
    key = ingest_key(sonant)
    async with client(sonant.url, key.headers) as http:
        changed = await http.put("/v2/telemetry/policy", json={"policy": {"masking": {"patterns": [OWN]}}})
        assert changed.status_code == 200, changed.text
    return key


async def test_planted_secrets_are_nowhere(sonant: Sonant) -> None:
    key = await with_own_rule(sonant)
    items = [planted(secret, number) for number, secret in enumerate(SECRETS)]
    scores = [
        {"kind": "score", "id": new_id(), "interaction_id": item["id"], "name": f"rated {secret}"[:100],
         "value": secret, "comment": secret, "source": secret[:60], "user_id": secret, "metadata": {secret: secret}}
        for item, secret in zip(items, SECRETS, strict=True)
    ]  # fmt: skip
    async with client(sonant.url, key.headers) as http:
        told = await http.post(BATCH, json={"items": [*items, *scores]})
        assert told.json()["rejected"] == 0, told.text
        settled = await fates(http, told.json()["batch_id"])
        assert settled["stored"] == len(items) + len(scores), settled
        one = (await http.get(f"/v2/interactions/{items[0]['id']}")).json()
        assert one["user_prompt"] == "before [email] after"
        assert one["metadata"]["password"] == "[secret]"
        assert one["metadata"]["card"] == "[card]"
        # Users and sessions stay apart from one another, and are found by the names their callers know.
        sessions = (await http.get("/v2/sessions", params={"user_id": SECRETS[0]})).json()["data"]
        assert len(sessions) == 1
        assert sessions[0]["user_id"].startswith("masked-")
        shown = await http.get(f"/v2/sessions/{SECRETS[0].replace('@', '%40')}%2F0")
        assert shown.json()["data"][0]["id"] == items[0]["id"]
    needles = [*SECRETS, str(SECRET_NUMBER), "canary-password", "BLUEBIRD", "secret-mail"]
    assert await found_in_tables(sonant, needles) == []
    assert await found_in_topics(sonant, needles) == []
    logs = {path.name: path.read_text(errors="replace") for path in (sonant.data_dir / "logs").glob("*.log")}
    assert [name for name, text in logs.items() if any(needle in text for needle in needles)] == []


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"masking": {"patterns": [{"name": "behind", "pattern": "(?=x)"}]}}, "the rule behind is no pattern of RE2"),
        ({"masking": "none"}, "the policy of the organisation cannot be read"),
    ],
)
async def test_what_cannot_be_masked_is_parked_and_stored_once_its_rule_is_mended(
    sonant: Sonant, policy: dict[str, Any], reason: str
) -> None:
    key = ingest_key(sonant)
    broken = orjson.dumps(policy).decode()
    connection = await asyncpg.connect(sonant.urls()["database"])
    await connection.execute(
        "INSERT INTO telemetry.policies VALUES ($1, $2, 1, 'test', now())", key.organization, broken
    )
    async with client(sonant.url, key.headers) as http:
        told = (await http.post(SINGLE, json=interaction(1, user_prompt=f"unmasked {key.organization}"))).json()
        settled = await fates(http, told["batch_id"])
        assert (settled["parked"], settled["stored"]) == (1, 0)
        assert reason in settled["items"][0]["reason"]
        assert await found_in_tables(sonant, [f"unmasked {key.organization}"]) == []

        async def dead_letter() -> Any:
            async with log_of(sonant) as log:
                [topic] = [topic for topic in topics() if topic.name == "interactions-dlq"]
                found = [each for each in await log.read(topic, limit=1000) if each.key.startswith(key.organization)]
                return found[0] if found else None

        letter = await eventually(dead_letter)
        assert "unmasked" not in str(letter)
        assert reason in letter.headers["dlq-message"]
        assert (await http.get("/v2/ledger")).json()["data"][0]["parked"] == 1
        await connection.execute("DELETE FROM telemetry.policies WHERE org_id = $1", key.organization)
        await connection.close()

        async def replayed() -> bool:
            # The rule may be known for some seconds.
            await command(sonant, "dlq", "replay", "interactions", "--id", letter.headers["event-id"])
            return bool((await fates(http, told["batch_id"]))["stored"] == 1)

        await eventually(replayed, timeout=30)
        ledger = (await http.get("/v2/ledger")).json()
        assert ledger["balanced"]
        assert (ledger["data"][0]["parked"], ledger["data"][0]["stored"]) == (0, 1)
        assert len(await stored(sonant, key, 1)) == 1

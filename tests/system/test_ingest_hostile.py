"""Hostile items: each is refused by itself, or stored as it is, and the rest of its batch is stored."""

import gzip
import time
import zlib
from typing import Any

import orjson
import pytest
from backports import zstd

from tests.support.clients import client
from tests.support.ingest import BATCH, SINGLE, fates, ingest_key, interaction, new_id, rows, stored
from tests.support.sonant import Sonant

SQL = "'); DROP TABLE telemetry.chat; --"
GOOD = 2
# As they stand in the body, each with the status and code that it gets.
RAW: list[tuple[str, bytes, int, str]] = [
    ("bytes that are no UTF-8", b'{"user_prompt": "\xff\xfe"}', 400, "invalid_json"),
    ("half a character", b'{"user_prompt": "\\ud800"}', 400, "invalid_json"),
    ("a NUL byte", b'{"user_prompt": "a\x00b"}', 400, "invalid_json"),
    ("deep", b'{"user_prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "too_deep"),
    ("deeper than a parser goes", b"[" * 300_000 + b"]" * 300_000, 400, "too_many"),
    ("no JSON", b"{user_prompt: 1}", 400, "invalid_json"),
    ("a text of 3 MB", b'{"user_prompt": "' + b"x" * 3_000_000 + b'"}', 413, "item_too_large"),
    ("no object", b'"text"', 400, "invalid_value"),
    ("null", b"null", 400, "invalid_value"),
    ("the year 1", b'{"user_prompt": "x", "timestamp": "0001-01-01T00:00:00Z"}', 400, "time_out_of_range"),
    ("the year 9999", b'{"user_prompt": "x", "timestamp": "9999-12-31T23:59:59Z"}', 400, "time_out_of_range"),
    ("beyond any calendar", b'{"user_prompt": "x", "timestamp": 1e300}', 400, "time_out_of_range"),
    ("no time", b'{"user_prompt": "x", "timestamp": "yesterday"}', 400, "invalid_value"),
    ("no zone", b'{"user_prompt": "x", "timestamp": "2026-11-29T12:00:00"}', 400, "invalid_value"),
    ("a version of its own", b'{"user_prompt": "x", "id": "7d444840-9dc0-41d1-b245-5ffdce74fad2"}', 400, "invalid_id"),
    ("a far year", b'{"user_prompt": "x", "id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}', 400, "time_out_of_range"),
    ("an id of 1970", b'{"user_prompt": "x", "id": "00000000-0000-7000-8000-000000000000"}', 400, "time_out_of_range"),
    ("no id", b'{"user_prompt": "x", "id": "\'; --"}', 400, "invalid_id"),
    ("another organisation", b'{"user_prompt": "x", "org_id": "somebody-else"}', 403, "wrong_organization"),
    ("nothing", b"{}", 400, "missing_required_parameter"),
    ("a mode of its own", b'{"user_prompt": "x", "mode": "staging"}', 400, "invalid_value"),
    ("a kind of its own", b'{"user_prompt": "x", "kind": "drop"}', 400, "invalid_value"),
    ("a kind that is no text", b'{"user_prompt": "x", "kind": ["step"]}', 400, "invalid_value"),
    ("tokens below zero", b'{"user_prompt": "x", "prompt_tokens": -1}', 400, "invalid_value"),
    ("more tokens than there are", b'{"user_prompt": "x", "total_tokens": 99999999999999999999}', 400, "invalid_value"),
    ("no number", b'{"user_prompt": "x", "response_time": NaN}', 400, "invalid_json"),
    ("endless", b'{"user_prompt": "x", "response_time": 1e999}', 400, "invalid_json"),
    ("metadata that is a list", b'{"user_prompt": "x", "metaData": []}', 400, "invalid_value"),
    ("a long name", b'{"user_prompt": "x", "user_id": "' + b"u" * 257 + b'"}', 400, "invalid_value"),
    ("many steps", b'{"user_prompt": "x", "step_data": [' + b",".join([b"1"] * 1001) + b"]}", 400, "too_many_steps"),
    ("a score of nothing", b'{"kind": "score", "name": "x", "value": 1}', 400, "missing_required_parameter"),
    ("a step without an id", b'{"kind": "step", "name": "x"}', 400, "missing_required_parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "status", "code"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
async def test_one_bad_item_is_refused_and_the_others_are_accepted(
    sonant: Sonant, item: bytes, status: int, code: str
) -> None:
    key = ingest_key(sonant)
    first, last = (orjson.dumps(interaction(number)) for number in range(GOOD))
    body = b'{"items": [' + b",".join((first, item, last)) + b"]}"
    async with client(sonant.url, key.headers) as http:
        answer = await http.post(BATCH, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert [result["status"] for result in told["results"]] == [202, status, 202]
        assert told["results"][1]["error"]["code"] == code
        assert (told["accepted"], told["rejected"]) == (GOOD, 1)
        assert (await fates(http, told["batch_id"]))["stored"] == GOOD


async def test_hostile_texts_are_stored_as_they_are(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    item = interaction(
        0, user_prompt=SQL, ai_response=SQL, metaData={SQL: [SQL]}, user_meta_data={"a": SQL}, user_id=SQL,
        session_id=SQL, project_id=SQL, file_name=SQL, llm_model=SQL, provider=SQL,
        step_data=[{"name": SQL, "input": SQL}], error=SQL, tags=[SQL], environment=SQL, release=SQL, trace_id=SQL,
    )  # fmt: skip
    odd = interaction(1, user_prompt="a\0b", ai_response="\u202e\ud7ff\uffff\U0010ffff", user_id="\0", session_id="s\0")
    async with client(sonant.url, key.headers) as http:
        told = (await http.post(BATCH, json={"items": [item, odd]})).json()
        assert (await fates(http, told["batch_id"]))["stored"] == 2, told
        first, second = await stored(sonant, key, 2)
        names = ("user_prompt", "ai_response", "user_id", "session_id", "file_name", "llm_model", "provider", "release")
        assert {first[name] for name in names} == {SQL}
        assert (second["user_prompt"], second["ai_response"]) == ("a\ufffdb", "\u202e\ud7ff\uffff\U0010ffff")
        [step] = await rows(sonant, "SELECT * FROM telemetry.steps WHERE org_id = $1", key.organization)
        assert step["name"] == SQL


async def test_clocks_that_are_off_are_taken_within_bounds(sonant: Sonant) -> None:
    key, now = ingest_key(sonant), time.time()
    day = 86_400.0
    items = [
        interaction(0, id=new_id(now - 30 * day)),
        interaction(1, id=new_id(now + 0.9 * day)),
        interaction(2, id=new_id(now - 2 * day), timestamp=now - 2.9 * day),
        {"user_prompt": "x", "timestamp": now - 20 * day},
        interaction(4, id=new_id(now - 32 * day)),
        interaction(5, id=new_id(now + 1.1 * day)),
        interaction(6, id=new_id(now), timestamp=now - 1.1 * day),
    ]
    async with client(sonant.url, key.headers) as http:
        told = (await http.post(BATCH, json={"items": items})).json()
        assert [result["status"] for result in told["results"]] == [202, 202, 202, 202, 400, 400, 400]
        assert told["results"][6]["error"]["code"] == "time_mismatch"
        assert (await fates(http, told["batch_id"]))["stored"] == 4
        assert len(await stored(sonant, key, 4)) == 4


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("(?=a)", "invalid_pattern"),
        (r"(a)\1", "invalid_pattern"),
        ("((a{100}){100}){100}", "invalid_pattern"),
        ("a*", "invalid_pattern"),
        ("(", "invalid_pattern"),
        ("x" * 501, "invalid_value"),
    ],
)
async def test_a_pattern_that_cannot_be_applied_is_refused(sonant: Sonant, pattern: str, code: str) -> None:
    key = ingest_key(sonant)
    policy = {"policy": {"masking": {"patterns": [{"name": "own", "pattern": pattern}]}}}
    async with client(sonant.url, key.headers) as http:
        answer = await http.put("/v2/telemetry/policy", json=policy)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_patterns_built_to_hang_hold_nobody_up(sonant: Sonant) -> None:
    """What hangs an engine that tracks back is linear here."""
    key = ingest_key(sonant)
    patterns = [{"name": f"own-{number}", "pattern": f"(a+)+{number}$"} for number in range(20)]
    async with client(sonant.url, key.headers) as http:
        changed = await http.put("/v2/telemetry/policy", json={"policy": {"masking": {"patterns": patterns}}})
        assert changed.status_code == 200, changed.text
        item = interaction(0, user_prompt="a" * 1_000_000 + "!")
        told = (await http.post(BATCH, json={"items": [item]})).json()
        assert (await fates(http, told["batch_id"]))["stored"] == 1


async def test_packed_bodies_are_read_and_bombs_are_not(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    body = orjson.dumps({"items": [interaction(number) for number in range(50)]})
    bomb = b"0" * 50_000_000
    async with client(sonant.url, key.headers) as http:

        async def send(packed: bytes, encoding: str) -> tuple[int, Any]:
            answer = await http.post(BATCH, content=packed, headers={"content-encoding": encoding})
            return answer.status_code, answer.json()

        for packed, encoding in (
            (gzip.compress(body), "gzip"),
            (zlib.compress(body), "deflate"),
            (zstd.compress(body), "zstd"),
        ):
            status, told = await send(packed, encoding)
            assert (status, told["accepted"]) == (200, 50)
        for packed, encoding in ((gzip.compress(bomb), "gzip"), (zstd.compress(bomb), "zstd")):
            status, told = await send(packed, encoding)
            assert (status, told["error"]["code"]) == (413, "request_too_large")
        assert (await send(b"nonsense", "zstd"))[0] == 400
        assert (await send(body, "br"))[0] == 415


async def test_a_batch_beyond_its_bounds_is_refused_as_a_whole(sonant: Sonant) -> None:
    key = ingest_key(sonant)
    async with client(sonant.url, key.headers) as http:
        many = await http.post(BATCH, json={"items": [{"user_prompt": "x"}] * 1001})
        assert (many.status_code, many.json()["error"]["code"]) == (413, "too_many_items")
        assert (await http.post(BATCH, content=b"x" * 6_000_000)).status_code == 413
        for body in (b"", b"[]", b"{}", b'{"items": {}}', b'{"items": [', b'{"items": [}', b'{"items": [1 2'):
            assert (await http.post(BATCH, content=body)).status_code == 400, body
        large = await http.post(SINGLE, json={"user_prompt": "x" * 2_200_000})
        assert large.status_code == 413
        nothing = (await http.post(BATCH, json={"items": []})).json()
        assert nothing == {"batch_id": None, "accepted": 0, "rejected": 0, "results": []}

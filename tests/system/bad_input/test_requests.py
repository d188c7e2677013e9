"""Ids, paths, queries and headers that are wrong are refused; odd but valid ones are answered."""

import json

import pytest

from tests.support.bad_input import (
    ACTIVE,
    AUDIT,
    CHAT,
    CONFIGS,
    GOOD,
    KEYS,
    PLATFORM,
    PROMPTS,
    SET,
    Stage,
)

LONG = "a" * 7000
BAD_HEADERS: list[tuple[dict[str, str | bytes], str]] = [
    ({"x-session-id": "s" * 10_000}, "x-session-id"),
    ({"x-session-id": b"\xff\xfe"}, "x-session-id"),
    ({"x-session-id": b"\xed\xa0\x80"}, "x-session-id"),
    ({"x-user-id": ""}, "x-user-id"),
    ({"x-user-id": "u" * 10_000}, "x-user-id"),
    ({"x-user-id": b"\xff"}, "x-user-id"),
    ({"x-sonant-resume-grace": "nan"}, "x-sonant-resume-grace"),
    ({"x-sonant-resume-grace": "-1"}, "x-sonant-resume-grace"),
    ({"x-sonant-resume-grace": "1e400"}, "x-sonant-resume-grace"),
    ({"x-sonant-resume-grace": "soon"}, "x-sonant-resume-grace"),
    ({"idempotency-key": ""}, "Idempotency-Key"),
    ({"idempotency-key": "k" * 256}, "Idempotency-Key"),
    ({"idempotency-key": b"\xff"}, "Idempotency-Key"),
]


@pytest.mark.parametrize("interrupting", [{}, {"x-user-interruption": "1"}], ids=["", "interrupting"])
async def test_bad_ids_of_a_chat_request_are_refused(stage: Stage, interrupting: dict[str, str]) -> None:
    own = {"authorization": f"Bearer {stage.chat}", **interrupting}
    async with stage.nothing_changes():
        for headers, param in BAD_HEADERS:
            stage.ask("POST", CHAT, own | headers, json.dumps(GOOD)).error(400, param, param=param)
        for session in (LONG, "%00", "a%0Ab", "%E2%80%AE"):
            answer = stage.ask("POST", f"{PLATFORM}?custom_session_id={session}", own, json.dumps(GOOD))
            answer.error(400, "printable", param="custom_session_id")


# method, path, status, parameter named
PATHS: list[tuple[str, str, int, str]] = [
    ("POST", "/v1/sessions/%00/interrupt", 400, "session_id"),
    ("POST", f"/v1/sessions/{LONG}/interrupt", 400, "session_id"),
    ("POST", "/v1/sessions/..%2f..%2fother/interrupt", 404, "session_id"),
    ("POST", "/v1/admin/keys/..%2f..%2fkeys/rotate", 404, "key_id"),
    ("POST", "/v1/admin/keys/%00/rotate", 404, "key_id"),
    ("POST", f"/v1/admin/keys/{LONG}/rotate", 404, "key_id"),
    ("DELETE", "/v1/admin/keys/..%2f..", 404, "key_id"),
    ("DELETE", "/v1/admin/keys/%00", 404, "key_id"),
    ("DELETE", "/v1/admin/keys/%ff%fe", 404, "key_id"),
    ("DELETE", f"/v1/admin/keys/{LONG}", 404, "key_id"),
    ("DELETE", "/v1/admin/keys/AAAAAAAAAAAA", 404, "key_id"),
    ("GET", "/v1/chat/completions/..%2f..%2fmodels/stream", 404, "id"),
    ("GET", "/v1/chat/completions/%00%ff/stream", 404, "id"),
    ("GET", f"/v1/chat/completions/{LONG}/stream", 404, "id"),
    ("GET", f"/v1/chat/completions/chatcmpl-{'0' * 32}/stream", 404, "id"),
    ("GET", "/v1/models/..%2f..%2fmodels", 404, "model"),
    ("GET", "/v1/models/%ED%A0%80", 404, "model"),
    ("GET", "/v1/usage?since=yesterday", 400, "since"),
    ("GET", "/v1/usage?since=0", 400, "since"),
    ("GET", "/v1/usage?since=1e400", 400, "since"),
    ("GET", "/v1/usage?since=2026-02-30", 400, "since"),
    ("GET", "/v1/usage?since=2026-01-02&until=2026-01-01", 400, "since"),
    ("GET", "/v1/usage?since=0001-01-01&until=9999-12-31", 400, "since"),
    ("GET", "/v1/usage?since=2025-01-01&until=2026-01-02", 400, "since"),
    ("GET", "/v1/usage?since=2026-01-01&since=2026-01-01", 400, "since"),
    ("GET", f"/v1/usage?model={LONG}", 400, "model"),
    ("GET", "/v1/usage?key_id=", 400, "key_id"),
    ("GET", "/v1/usage?org_id=default", 400, "org_id"),
    ("GET", "/v1/admin/keys?limit=0", 400, "limit"),
    ("GET", "/v1/admin/keys?limit=99999999999999999999", 400, "limit"),
    ("GET", "/v1/admin/keys?limit=1e3", 400, "limit"),
    ("GET", "/v1/admin/keys?after=%00", 400, "after"),
    ("GET", "/v1/admin/keys?after=AAAAAAAAAAAA", 404, "after"),
    ("GET", "/v1/admin/keys?organization=default", 403, "organization"),
    ("GET", "/v1/admin/keys?organization=%27%3B--", 400, "organization"),
    ("GET", f"{PROMPTS}?id=..%2fconfigs", 400, "id"),
    ("GET", f"{PROMPTS}?id=a%00", 400, "id"),
    ("GET", f"{PROMPTS}?id={LONG}", 400, "id"),
    ("GET", f"{PROMPTS}?version=1", 400, "version"),
    ("GET", f"{PROMPTS}?id=a&version=99999999999", 400, "version"),
    ("GET", f"{PROMPTS}?id=a&id=b", 400, "id"),
    ("GET", f"{PROMPTS}?page_size=0", 400, "page_size"),
    ("GET", f"{PROMPTS}?page_number=99999999999999999999", 400, "page_number"),
    ("GET", f"{PROMPTS}?name=%00", 400, "name"),
    ("GET", f"{PROMPTS}?active=1", 400, "active"),
    ("GET", f"{PROMPTS}?active=true&id=a", 400, "id"),
    ("GET", f"{PROMPTS}?active=true&projectId=%2e%2e", 400, "projectId"),
    ("GET", f"{PROMPTS}?org_id=default", 400, "org_id"),
    ("GET", "/api/hume/auth?key=a", 400, "key"),
    ("GET", f"{ACTIVE}?user=a", 400, "user"),
    ("GET", f"{ACTIVE}/history?before=0", 400, "before"),
    ("GET", f"{ACTIVE}/history?limit=1e3", 400, "limit"),
    ("GET", f"{ACTIVE}/diff?old=1", 400, "new"),
    ("GET", f"{ACTIVE}/diff?old=1&new=-1", 400, "new"),
    ("GET", f"{ACTIVE}/at", 400, "time"),
    ("GET", f"{ACTIVE}/at?time=yesterday", 400, "time"),
    ("GET", f"{ACTIVE}/at?time=2026-01-01T00:00:00", 400, "time"),
    ("GET", f"{ACTIVE}/at?time=0001-01-01T00:00:00%2B14:00", 400, "time"),
    ("GET", f"{ACTIVE}/at?time=1e400", 400, "time"),
    ("GET", f"{AUDIT}?before=99999999999999999999", 400, "before"),
    ("GET", f"{AUDIT}?target=%00", 400, "target"),
    ("GET", f"{AUDIT}?org_id=default", 400, "org_id"),
    ("DELETE", PROMPTS, 400, "id"),
    ("DELETE", f"{PROMPTS}?id=a&version=-1", 400, "version"),
    ("DELETE", f"{PROMPTS}?id=a&all=true", 400, "all"),
    ("DELETE", f"{ACTIVE}?toolId=a", 400, "toolId"),
    ("DELETE", f"{ACTIVE}/tools", 400, "toolId"),
    ("DELETE", f"{ACTIVE}/tools?toolId=a%2fb", 400, "toolId"),
]


async def test_bad_paths_and_queries_are_refused(stage: Stage) -> None:
    interruption = json.dumps({"type": "user_interruption", "time": {"timestamp": 1}})
    async with stage.nothing_changes():
        for method, path, status, param in PATHS:
            content = None if method != "POST" else interruption if "sessions" in path else "{}"
            stage.send(method, path, content).error(status, param=param)


async def test_a_precondition_that_is_none_is_refused(stage: Stage) -> None:
    async with stage.nothing_changes():
        for given in ("*", "3", 'W/"3"', '"3", "4"', '"-1"', '"a"', "", '"99999999999"'):
            for method, path in (("PUT", ACTIVE), ("POST", f"{CONFIGS}?setActive=true")):
                stage.send(method, path, json.dumps(SET), if_match=given).error(400, "If-Match", param="If-Match")
            stage.send("DELETE", ACTIVE, if_match=given).error(400, param="If-Match")
        for given in ("", "k" * 256):
            stage.send("PUT", ACTIVE, json.dumps(SET), idempotency_key=given).error(400, param="Idempotency-Key")


async def test_days_at_the_ends_of_the_calendar_are_days(stage: Stage) -> None:
    for query in ("until=0001-01-01", "since=9999-12-31&until=9999-12-31", "model=%00", "key_id=%ED%A0%80"):
        answer = stage.send("GET", f"/v1/usage?{query}")
        assert (answer.status, json.loads(answer.body)["data"]) == (200, [])


async def test_a_bad_last_event_id_is_refused(stage: Stage) -> None:
    path = f"{CHAT}/chatcmpl-{'0' * 32}/stream"
    for given in ("", "-1", "1.5", "first", "9" * 10, "1 2"):
        stage.send("GET", path, last_event_id=given).error(400, param="Last-Event-ID")


async def test_what_is_not_there_is_said_so(stage: Stage) -> None:
    for method, path in (
        ("GET", "/nothing"),
        ("POST", "/v1/completions"),
        ("GET", "/%00%ff"),
        ("GET", "/../../etc/passwd"),
    ):
        stage.send(method, path).error(404, "Unknown request URL", code="unknown_url")
    for method, path in (("GET", CHAT), ("DELETE", CHAT), ("PATCH", KEYS), ("POST", "/v1/models"), ("PUT", "/healthz")):
        answer = stage.send(method, path)
        answer.error(405, "does not answer", code="method_not_allowed")
        assert answer.headers["allow"]


async def test_odd_but_valid_texts_are_answered(stage: Stage) -> None:
    text = rb'"\u0000 \ud83d\ude00 \uffff \u202e"'
    body = b'{"messages": [{"role": "user", "content": ' + text + b'}], "max_tokens": 18446744073709551615}'
    async with stage.a_turn():
        answer = stage.post(CHAT, body)
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["finish_reason"] == "stop"

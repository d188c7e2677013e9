"""Without a key that works, the scope, or the organisation, nothing is done and nothing is told."""

import json

import httpx

from tests.support.bad_input import (
    ACTIVE,
    ANSWER_SECONDS,
    AUDIT,
    CHAT,
    GOOD,
    KEYS,
    PROMPTS,
    READS,
    RESOURCE_READS,
    RESOURCE_WRITES,
    ROTATE,
    WRITES,
    Stage,
    key_id,
    told,
)


def unauthorized(stage: Stage) -> dict[str, dict[str, str | bytes]]:
    key = stage.admin
    return {
        "missing": {},
        "empty": {"authorization": ""},
        "no token": {"authorization": "Bearer"},
        "another scheme": {"authorization": f"Basic {key}"},
        "no scheme": {"authorization": key},
        "garbage": {"authorization": "Bearer garbage"},
        "not ASCII": {"authorization": b"Bearer \xff\xfe"},
        "long": {"authorization": "Bearer " + "a" * 12_000},
        "of another installation": {"authorization": f"Bearer sk-sonant-AAAAAAAAAAAA-{'A' * 43}"},
        "wrong secret": {"authorization": f"Bearer {key[:-43]}{'A' * 43}"},
        "cut": {"authorization": f"Bearer {key[:-1]}"},
        "revoked": {"authorization": f"Bearer {stage.revoked}"},
        "revoked, other header": {"x-api-key": stage.revoked},
        "in the query only": {},
    }


async def test_without_a_key_that_works_nothing_is_done(stage: Stage) -> None:
    deletes = (f"{KEYS}/OWN", f"{PROMPTS}?id=a", ACTIVE, f"{ACTIVE}/tools?toolId=a")
    asked = [*WRITES, *(("GET", path) for path in READS), *(("DELETE", path) for path in deletes)]
    async with stage.nothing_changes():
        for method, path in asked:
            for name, headers in unauthorized(stage).items():
                query = f"{'&' if '?' in path else '?'}api_key={stage.admin}" if name == "in the query only" else ""
                content = json.dumps(GOOD) if (method, path) in WRITES else None
                answer = stage.ask(method, path + query, headers, content)
                answer.error(401, "API key", code="invalid_api_key")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert key_id(stage.admin).encode() not in answer.body


async def test_a_key_without_the_scope_manages_nothing(stage: Stage) -> None:
    asked = (("POST", KEYS), ("GET", KEYS), ("POST", ROTATE), ("DELETE", f"{KEYS}/OWN"))
    async with stage.nothing_changes():
        for method, path in asked:
            answer = stage.send(method, path, "{}", authorization=f"Bearer {stage.chat}")
            answer.error(403, "lacks the scope `admin`", code="insufficient_scope")


async def test_resources_are_for_keys_with_their_scope_and_a_user(stage: Stage) -> None:
    asked = [*RESOURCE_WRITES, *(("GET", path) for path in RESOURCE_READS), ("DELETE", f"{PROMPTS}?id=a")]
    async with stage.nothing_changes():
        for method, path in asked:
            content = "{}" if (method, path) in WRITES else None
            answer = stage.send(method, path, content, authorization=f"Bearer {stage.chat}")
            answer.error(403, "lacks the scope `resources`", code="insufficient_scope")
            if path != AUDIT:
                answer = stage.ask(method, path, {"x-api-key": stage.admin}, content or None)
                assert answer.status in (400, 401), answer
            if path.startswith("/api/hume"):
                answer.error(401, "x-user-id", code="user_required", param="x-user-id")
            for user in ("", "u" * 201, "\u202e", "a\tb"):
                answer = stage.send(method, path, content, x_user_id=user)
                assert path == AUDIT or answer.status == 400, answer


async def test_a_foreign_key_manages_nothing(stage: Stage) -> None:
    foreign = f"Bearer {stage.stranger}"
    async with stage.nothing_changes():
        stage.send("POST", ROTATE, "{}", authorization=foreign).error(404, code="key_not_found")
        stage.send("DELETE", f"{KEYS}/OWN", authorization=foreign).error(404, code="key_not_found")
        stage.send("GET", f"{KEYS}?after=OWN", authorization=foreign).error(404, code="key_not_found")
        listed = stage.send("GET", f"{KEYS}?organization=bad-input", authorization=foreign)
        listed.error(403, code="foreign_organization")


async def test_a_foreign_key_neither_stops_nor_hears_an_answer(stage: Stage) -> None:
    """The answer of another organisation goes on undisturbed while a stranger tries to interrupt and to resume it."""
    url, own = stage.sonant.url, {"authorization": f"Bearer {stage.chat}", "x-session-id": "private"}
    body = {**GOOD, "model": "slow", "stream": True}
    interruption = {"type": "user_interruption", "time": {"timestamp": 1}}
    foreign = f"Bearer {stage.stranger}"
    async with (
        stage.a_turn(),
        httpx.AsyncClient(timeout=ANSWER_SECONDS) as client,
        client.stream("POST", url + CHAT, json=body, headers=own) as answer,
    ):
        lines = answer.aiter_lines()
        first = await anext(lines)
        completion = answer.headers["x-sonant-completion-id"]
        refused = await client.get(f"{url}{CHAT}/{completion}/stream", headers={"authorization": foreign})
        told(refused).error(404, code="completion_not_found")
        missed = await client.post(
            f"{url}/v1/sessions/private/interrupt", json=interruption, headers={"authorization": foreign}
        )
        told(missed).error(404, code="no_answer_in_progress")
        rest = [line async for line in lines]
    assert first.startswith(("id:", "data:"))
    assert "data: [DONE]" in rest

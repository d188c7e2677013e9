"""A field that is wrong is named, and what was asked for is not done."""

import json
from typing import Any

import pytest

from tests.support.bad_input import (
    ACTIVE,
    CHAT,
    CONFIGS,
    DYNAMIC,
    GOOD,
    INTERRUPT,
    KEYS,
    PLATFORM,
    PROMPTS,
    ROTATE,
    SET,
    TOOLS,
    VOICES,
    Stage,
    messages,
)


def with_message(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, message]}


# path, body, status, parameter named, code
FIELDS: list[tuple[str, Any, int, str | None, str]] = [
    (CHAT, {}, 400, "messages", "missing_required_parameter"),
    (CHAT, {"messages": []}, 400, "messages", "invalid_value"),
    (CHAT, {"messages": "hi"}, 400, "messages", "invalid_value"),
    (CHAT, {"messages": [1]}, 400, "messages.0", "invalid_value"),
    (CHAT, messages(100_000), 400, "messages", "too_many_messages"),
    (CHAT, {"messages": [0] * 100_000}, 400, "messages", "too_many_messages"),
    (CHAT, with_message(role="robot"), 400, "messages.1.role", "invalid_value"),
    (CHAT, with_message(content="hi"), 400, "messages.1.role", "missing_required_parameter"),
    (CHAT, with_message(role="user", content=5), 400, None, "invalid_value"),
    (CHAT, with_message(role="user", content=["hi"]), 400, None, "invalid_value"),
    (CHAT, {**GOOD, "model": "gpt-none"}, 404, "model", "model_not_found"),
    (CHAT, {**GOOD, "model": "../../etc/passwd"}, 404, "model", "model_not_found"),
    (CHAT, {**GOOD, "model": "\x00"}, 404, "model", "model_not_found"),
    (CHAT, {**GOOD, "model": ""}, 400, "model", "invalid_value"),
    (CHAT, {**GOOD, "model": None}, 400, "model", "invalid_value"),
    (CHAT, {**GOOD, "model": "m" * 10_000}, 400, "model", "invalid_value"),
    (CHAT, {**GOOD, "stream": "yes"}, 400, "stream", "invalid_value"),
    (CHAT, {**GOOD, "temperature": 1e300}, 400, "temperature", "invalid_value"),
    (CHAT, {**GOOD, "top_p": "1"}, 400, "top_p", "invalid_value"),
    (CHAT, {**GOOD, "n": 10**6}, 400, "n", "invalid_value"),
    (CHAT, {**GOOD, "max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    (CHAT, {**GOOD, "max_tokens": 1e308}, 400, "max_tokens", "invalid_value"),
    (CHAT, {**GOOD, "tools": {"a": 1}}, 400, "tools", "invalid_value"),
    (CHAT, {**GOOD, "user": 5}, 400, "user", "invalid_value"),
    # Of repeated names the last counts, for checks and for the upstream alike.
    (
        CHAT,
        b'{"model": "default", "messages": [{"role": "user"}], "model": "gpt-none"}',
        404,
        "model",
        "model_not_found",
    ),
    (CHAT, b'{"messages": [{"role": "user"}], "messages": 5}', 400, "messages", "invalid_value"),
    (INTERRUPT, {}, 400, "type", "missing_required_parameter"),
    (INTERRUPT, {"type": "user_interruption"}, 400, "time", "missing_required_parameter"),
    (INTERRUPT, {"type": "stop", "time": {"timestamp": 1}}, 400, "type", "invalid_value"),
    (INTERRUPT, {"type": "user_interruption", "time": 1}, 400, "time", "invalid_value"),
    (INTERRUPT, {"type": "user_interruption", "time": {"timestamp": "1"}}, 400, "time.timestamp", "invalid_value"),
    (INTERRUPT, {"type": "user_interruption", "time": {"timestamp": -1}}, 400, "time.timestamp", "invalid_value"),
    (INTERRUPT, {"type": "user_interruption", "time": {"timestamp": 1e300}}, 400, "time.timestamp", "invalid_value"),
    (INTERRUPT, {"type": "user_interruption", "time": {"timestamp": 1}}, 404, "session_id", "no_answer_in_progress"),
    (KEYS, {}, 400, "name", "missing_required_parameter"),
    (KEYS, {"name": 5}, 400, "name", "invalid_value"),
    (KEYS, {"name": ""}, 400, "name", "invalid_value"),
    (KEYS, {"name": "n" * 10_000}, 400, "name", "invalid_value"),
    (KEYS, {"name": "a\x00b"}, 400, "name", "invalid_value"),
    (KEYS, {"name": "a", "organization": "../bad-input"}, 400, "organization", "invalid_value"),
    (KEYS, {"name": "a", "organization": "bad-input\n"}, 400, "organization", "invalid_value"),
    (KEYS, {"name": "a", "organization": "o" * 10_000}, 400, "organization", "invalid_value"),
    (KEYS, {"name": "a", "organization": "default"}, 403, "organization", "foreign_organization"),
    (KEYS, {"name": "a", "scopes": []}, 400, "scopes", "invalid_value"),
    (KEYS, {"name": "a", "scopes": ["root"]}, 400, "scopes.0", "invalid_value"),
    (KEYS, {"name": "a", "scopes": ["chat"] * 100}, 400, "scopes", "invalid_value"),
    (KEYS, {"name": "a", "limits": []}, 400, "limits", "invalid_value"),
    (KEYS, {"name": "a", "limits": {"requests_per_minute": 0}}, 400, "limits.requests_per_minute", "invalid_value"),
    (KEYS, {"name": "a", "limits": {"tokens_per_minute": 1e30}}, 400, "limits.tokens_per_minute", "invalid_value"),
    (KEYS, {"name": "a", "limits": {"tokens_per_minute": 1.5}}, 400, "limits.tokens_per_minute", "invalid_value"),
    (KEYS, {"name": "a", "limits": {"more": 1}}, 400, "limits.more", "unknown_parameter"),
    (KEYS, {"name": "a", "expires_in": 1e308}, 400, "expires_in", "invalid_value"),
    (KEYS, {"name": "a", "expires_in": -1}, 400, "expires_in", "invalid_value"),
    (KEYS, {"name": "a", "more": 1}, 400, "more", "unknown_parameter"),
    (KEYS, b'{"name": "a", "name": 5}', 400, "name", "invalid_value"),
    (ROTATE, {"overlap": "1"}, 400, "overlap", "invalid_value"),
    (ROTATE, {"overlap": -1}, 400, "overlap", "invalid_value"),
    (ROTATE, {"overlap": 1e308}, 400, "overlap", "invalid_value"),
    (ROTATE, {"more": 1}, 400, "more", "unknown_parameter"),
]


@pytest.mark.parametrize("path", [CHAT, INTERRUPT, KEYS, ROTATE])
async def test_a_wrong_field_is_named(stage: Stage, path: str) -> None:
    async with stage.nothing_changes():
        for at, body, status, param, code in FIELDS:
            if at == path:
                stage.post(path, body).error(status, code=code, param=param)


async def test_both_chat_paths_check_alike(stage: Stage) -> None:
    async with stage.nothing_changes():
        for at, body, status, param, code in FIELDS:
            if at == CHAT:
                stage.post(PLATFORM, body).error(status, code=code, param=param)


NEW_TOOL: dict[str, Any] = {"name": "a", "parameters": "{}"}
# method, path, body, status, parameter named
RESOURCE_FIELDS: list[tuple[str, str, Any, int, str | None]] = [
    ("POST", PROMPTS, {}, 400, "text"),
    ("POST", PROMPTS, {"text": "a"}, 400, "name"),
    ("POST", PROMPTS, {"name": "a", "text": 5}, 400, "text"),
    ("POST", PROMPTS, {"name": "a", "text": ""}, 400, "text"),
    ("POST", PROMPTS, {"name": "", "text": "a"}, 400, "name"),
    ("POST", PROMPTS, {"name": "n" * 10_000, "text": "a"}, 400, "name"),
    ("POST", PROMPTS, {"name": "a\x00b", "text": "a"}, 400, "name"),
    ("POST", PROMPTS, {"name": "a", "text": "a\x00b"}, 400, "text"),
    ("POST", PROMPTS, {"name": "a", "text": "t" * 200_000}, 400, "text"),
    ("POST", PROMPTS, {"name": "a", "text": "a", "more": 1}, 400, "more"),
    ("POST", PROMPTS, {"name": "a", "text": "a", "id": "mine"}, 400, "id"),
    ("POST", PROMPTS, {"name": "a", "text": "a", "version_description": 5}, 400, "version_description"),
    ("POST", f"{PROMPTS}?setActive=yes", {"name": "a", "text": "a"}, 400, "setActive"),
    ("POST", f"{PROMPTS}?set_active=true", {"name": "a", "text": "a"}, 400, "set_active"),
    ("POST", f"{PROMPTS}?projectId=p", {"name": "a", "text": "a"}, 400, "projectId"),
    ("POST", f"{PROMPTS}?setActive=true&projectId=p", {"name": "a", "text": "a", "projectId": "q"}, 400, "projectId"),
    ("POST", f"{PROMPTS}?setActive=true", {"name": "a", "text": "a", "projectId": "../p"}, 400, "projectId"),
    ("POST", f"{PROMPTS}?setActive=true", {"name": "a", "text": "a"}, 409, None),
    ("PUT", PROMPTS, {"text": "a"}, 400, "id"),
    ("PUT", PROMPTS, {"text": "a", "id": "../configs/x?y=1&z="}, 400, "id"),
    ("PUT", f"{PROMPTS}?id=a", {"text": "a", "id": "b"}, 400, "id"),
    ("PUT", f"{PROMPTS}?id=a", {"text": "a"}, 404, None),
    ("PATCH", f"{PROMPTS}?id=a", {}, 400, "name"),
    ("PATCH", f"{PROMPTS}?id=a", {"name": "a", "version": 0}, 400, "name"),
    ("PATCH", f"{PROMPTS}?id=a", {"version": -1, "version_description": "a"}, 400, "version"),
    ("PATCH", f"{PROMPTS}?id=a", {"version": 1e30, "version_description": "a"}, 400, "version"),
    ("PATCH", f"{PROMPTS}?id=a", {"text": "a"}, 400, "text"),
    ("PATCH", f"{PROMPTS}?id=a", {"name": "a"}, 404, None),
    ("POST", CONFIGS, {"name": "a"}, 400, "evi_version"),
    ("POST", CONFIGS, {"name": "a", "evi_version": "1"}, 400, "evi_version"),
    ("POST", CONFIGS, {"name": "a", "evi_version": "3", "prompt": []}, 400, "prompt"),
    ("POST", CONFIGS, {"name": "a", "evi_version": "3", "prompt": {"id": "nowhere"}}, 400, "prompt"),
    ("POST", CONFIGS, {"name": "a", "evi_version": "3", "language_model": {"temperature": 9}}, 400, None),
    ("POST", TOOLS, {"name": "a"}, 400, None),
    ("POST", TOOLS, {**NEW_TOOL, "parameters": "no schema"}, 400, "parameters"),
    ("POST", TOOLS, {**NEW_TOOL, "parameters": '{"type": "nothing"}'}, 400, "parameters"),
    ("POST", TOOLS, {**NEW_TOOL, "parameters": '{"type": "object", "$ref": "http://a/b"}'}, 400, "parameters"),
    ("POST", TOOLS, {**NEW_TOOL, "parameters": 5}, 400, None),
    ("POST", VOICES, {}, 400, "name"),
    ("POST", DYNAMIC, {}, 400, "description"),
    ("POST", DYNAMIC, {"description": ""}, 400, "description"),
    ("POST", DYNAMIC, {"description": "d" * 5000}, 400, "description"),
    ("POST", DYNAMIC, {"description": "a", "inputs": "city"}, 400, "inputs"),
    ("POST", DYNAMIC, {"description": "a", "inputs": ["i"] * 100}, 400, "inputs"),
    ("POST", DYNAMIC, {"description": "a", "outputs": [""]}, 400, "outputs.0"),
    ("POST", DYNAMIC, {"description": "a", "more": 1}, 400, "more"),
    ("POST", f"{DYNAMIC}/a/promote", {}, 404, None),
    ("POST", f"{DYNAMIC}/..%2fa/disable", {}, 400, "id"),
    ("PUT", ACTIVE, {}, 400, "configId"),
    ("PUT", ACTIVE, {"configId": "a"}, 400, "promptId"),
    ("PUT", ACTIVE, {**SET, "configVersion": "1"}, 400, "configVersion"),
    ("PUT", ACTIVE, {**SET, "promptVersion": -1}, 400, "promptVersion"),
    ("PUT", ACTIVE, {**SET, "voiceVersion": 1}, 400, "voiceId"),
    ("PUT", ACTIVE, {**SET, "tools": [{"toolId": "a"}, {"toolId": "a"}]}, 400, "tools"),
    ("PUT", ACTIVE, {**SET, "tools": [{"toolId": "a"}] * 1000}, 400, "tools"),
    ("PUT", ACTIVE, {**SET, "tools": {"toolId": "a"}}, 400, "tools"),
    ("PUT", ACTIVE, {**SET, "projectId": ""}, 400, "projectId"),
    ("PUT", ACTIVE, {**SET, "userId": "another"}, 400, "userId"),
    ("PUT", ACTIVE, {**SET, "note": "n" * 1000}, 400, "note"),
    ("PUT", f"{ACTIVE}?layer=everything", SET, 400, "layer"),
    ("PUT", f"{ACTIVE}?layer=organization&projectId=p", SET, 400, "projectId"),
    ("PUT", ACTIVE, SET, 404, None),
    ("POST", f"{CONFIGS}?setActive=true", SET, 404, None),
    ("POST", f"{ACTIVE}/rollback", {"revision": 0}, 400, "revision"),
    ("POST", f"{ACTIVE}/rollback", {"revision": 1e30}, 400, "revision"),
    ("POST", f"{ACTIVE}/rollback", {"to": 1}, 400, "to"),
    ("POST", f"{ACTIVE}/rollback", {"revision": 1}, 404, None),
    ("POST", f"{ACTIVE}/rollout", {}, 400, "percent"),
    ("POST", f"{ACTIVE}/rollout", {"percent": 101}, 400, "percent"),
    ("POST", f"{ACTIVE}/rollout", {"percent": "10"}, 400, "percent"),
    ("POST", f"{ACTIVE}/rollout", {"percent": 1, "candidate": {}}, 400, "candidate.configId"),
    ("POST", f"{ACTIVE}/rollout", {"percent": 1}, 409, None),
    ("POST", f"{ACTIVE}/tools", {}, 400, "toolId"),
    ("POST", f"{ACTIVE}/tools", {"toolId": "a", "toolVersion": 1.5}, 400, "toolVersion"),
    ("POST", f"{ACTIVE}/tools", {"toolId": "a"}, 409, None),
]


async def test_a_wrong_field_of_a_resource_is_named(stage: Stage) -> None:
    async with stage.nothing_changes():
        for method, path, body, status, param in RESOURCE_FIELDS:
            answer = stage.send(method, path, json.dumps(body))
            assert answer.status == status, (path, body, answer)
            told = json.loads(answer.body)["error"]
            assert {"message", "type", "param", "code"} <= set(told), (path, body, answer)
            assert param is None or told["param"] == param, (path, body, answer)

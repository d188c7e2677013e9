"""Bad input gets a clear 4xx in the one error shape, changes nothing, and leaves a gateway that still answers."""

import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.support.sonant import Sonant
from tests.support.waiting import eventually

MIB = 1024 * 1024
CHAT, PLATFORM = "/v1/chat/completions", "/chat/completions"
INTERRUPT, KEYS, ROTATE = "/v1/sessions/nobody/interrupt", "/v1/admin/keys", "/v1/admin/keys/OWN/rotate"
PROMPTS, CONFIGS, TOOLS, VOICES = KINDS = tuple(f"/api/hume/{kind}s" for kind in ("prompt", "config", "tool", "voice"))
ACTIVE, DYNAMIC, AUDIT = "/v1/active", f"{TOOLS}/dynamic", "/v1/audit"
RESOURCE_WRITES = (
    *((method, path) for path in KINDS for method in ("POST", "PUT", "PATCH")),
    ("POST", DYNAMIC),
    ("PUT", ACTIVE),
    ("POST", f"{ACTIVE}/rollback"),
    ("POST", f"{ACTIVE}/rollout"),
    ("POST", f"{ACTIVE}/tools"),
)
# What each write route accepts at most, in bytes.
WRITES = {
    ("POST", CHAT): 4 * MIB,
    ("POST", PLATFORM): 4 * MIB,
    ("POST", INTERRUPT): 4096,
    ("POST", KEYS): 16 * 1024,
    ("POST", ROTATE): 16 * 1024,
    **dict.fromkeys(RESOURCE_WRITES, MIB),
}
# What is tried in one go: resources are many routes over one way to read a body.
TOGETHER = [*([write] for write in WRITES if write not in RESOURCE_WRITES), list(RESOURCE_WRITES)]
NAMES = ["chat", "platform", "interrupt", "keys", "rotate", "resources"]
RESOURCE_READS = (*KINDS, "/api/hume/auth", ACTIVE, f"{ACTIVE}/history", f"{ACTIVE}/diff?old=1&new=2", AUDIT)
READS = ("/v1/models", "/v1/models/default", "/v1/usage", KEYS, f"{CHAT}/chatcmpl-{'0' * 32}/stream", *RESOURCE_READS)
GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "Say: still here"}]}
# What the gateway may keep in the end, after every bomb has gone off ten more times: room for its allocator to hold on
# to a few bodies of 4 MiB. If only one body a round were leaked, it would be 40 MiB.
KEPT_BYTES = 32 * MIB
# No answer of a server that has understood takes longer, and no bad request may hold its connection longer.
ANSWER_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, however it was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self, status: int, why: str = "", *, code: str | None = None, param: str | None = None) -> None:
        """Assert that this is such an error, in the one shape."""
        assert self.status == status, self
        assert self.headers["content-type"].partition(";")[0] == "application/json"
        assert self.headers["x-request-id"]
        body = json.loads(self.body)
        assert list(body) == ["error"]
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["message"], body
        assert body["error"]["type"] in ("invalid_request_error", "permission_error")
        assert why in body["error"]["message"], body
        assert code is None or body["error"]["code"] == code, body
        assert param is None or body["error"]["param"] == param, body


@dataclass(frozen=True)
class Stage:
    """The shared system, with an organisation of its own to be abused."""

    sonant: Sonant
    client: httpx.Client
    admin: str
    chat: str
    revoked: str
    stranger: str

    def send(self, method: str, path: str, content: Any = None, **headers: str) -> Answer:
        """One request as the organisation's admin; a header `authorization` overrides who asks."""
        given = {
            "authorization": f"Bearer {self.admin}",
            "content-type": "application/json",
            "x-user-id": "bad-input",
        }
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, path, given | named, content)

    def ask(self, method: str, path: str, headers: Mapping[str, str | bytes], content: Any = None) -> Answer:
        """One request with these headers and no other of ours."""
        pairs = [(name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in headers.items()]
        own = path.replace("OWN", key_id(self.chat))
        return told(self.client.request(method, own, content=content, headers=pairs))

    def post(self, path: str, value: Any, **headers: str) -> Answer:
        return self.send("POST", path, value if isinstance(value, bytes) else json.dumps(value), **headers)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        address = urlsplit(self.sonant.url)
        with socket.create_connection((address.hostname, address.port), timeout=ANSWER_SECONDS) as connection:
            yield connection

    def raw(self, data: bytes) -> Answer:
        """Whatever bytes; what comes back until the gateway closes."""
        with self.connected() as connection:
            # A head that is too large is refused before all of it is sent; the refusal can be read all the same.
            with suppress(ConnectionError):
                connection.sendall(data)
            return parsed(read_all(connection))

    def head(self, line: bytes, *fields: bytes) -> bytes:
        """The head of a request as the organisation's admin."""
        own = (b"host: gateway", b"authorization: Bearer " + self.admin.encode(), b"connection: close")
        return b"\r\n".join([line, *own, b"x-user-id: bad-input", *fields, b"", b""])

    def state(self) -> dict[str, Any]:
        """Everything a request could have changed: records handled, calls to the upstream, turns, keys, usage,
        resources and what was done to them.
        """
        totals: dict[str, float] = {}
        for service in ("llm-stream", "telemetry"):
            page = self.client.get(self.sonant.run()["processes"][service]["ops_url"] + "/metrics").text
            for line in page.splitlines():
                if line.startswith(
                    ("sonant_events_handled_total", "sonant_chat_turns_total", "sonant_turns_stored_total")
                ):
                    name, _, value = line.rpartition(" ")
                    if "chat.models.requested" not in name and "usage.requested" not in name:
                        totals[f"{service} {name}"] = float(value)
        keys = self.client.get(KEYS, params={"limit": 1000}, headers=self.sonant.headers).json()
        usage = self.client.get("/v1/usage", headers={"x-api-key": self.admin}).json()
        return {
            "totals": totals,
            "calls": self.client.get(f"{self.sonant.sandbox_url}/sandbox/stats").json()["requests"],
            "keys": [{**key, "last_used_at": None} for key in keys["data"]],
            "usage": usage["data"],
            "resources": [json.loads(self.send("GET", path).body) for path in (*KINDS, f"{ACTIVE}/history", AUDIT)],
        }

    async def settled(self) -> dict[str, Any]:
        """The state when nothing of earlier requests is on its way any more."""
        seen = [self.state()]

        async def still() -> Any:
            seen.append(self.state())
            return seen[-1] if seen[-1] == seen[-2] else None

        found: dict[str, Any] = await eventually(still, interval=0.05)
        return found

    def stored(self) -> float:
        totals = self.state()["totals"]
        return sum(
            (value for name, value in totals.items() if name.startswith("telemetry sonant_turns_stored_total")), 0.0
        )

    async def good_turn(self) -> None:
        """One good request of another organisation, awaited until the database holds it.

        What a bad request before it may have published has gone the same way by then.
        """
        before = self.stored()
        answer = self.client.post(CHAT, headers=self.sonant.headers, json=GOOD)
        assert answer.json()["choices"][0]["message"]["content"] == "still here"
        await eventually(lambda: self.stored() > before)

    @asynccontextmanager
    async def nothing_changes(self) -> AsyncIterator[None]:
        """What happens inside publishes, calls, stores and creates nothing; then the system still answers."""
        before, logged = await self.settled(), len(self.sonant.log("gateway"))
        yield
        await self.good_turn()
        after = await self.settled()
        # What callers do wrong is no error of ours, and must not fill the log.
        assert '"level": "error"' not in self.sonant.log("gateway")[logged:]
        assert after["calls"] == before["calls"] + 1
        assert after["keys"] == before["keys"]
        assert after["usage"] == before["usage"]
        assert after["resources"] == before["resources"]
        good = {
            'llm-stream sonant_events_handled_total{event="chat.reply.requested",outcome="done"}': 1,
            'llm-stream sonant_chat_turns_total{model="default",outcome="completed"}': 1,
            'telemetry sonant_events_handled_total{event="chat.reply.completed",outcome="done"}': 1,
            "telemetry sonant_turns_stored_total": 1,
        }
        assert grown(before["totals"], after["totals"]) == good


def told(answer: httpx.Response) -> Answer:
    return Answer(answer.status_code, dict(answer.headers), answer.content)


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def key_id(key: str) -> str:
    return key.split("-")[2]


def read_all(connection: socket.socket) -> bytes:
    """What comes until the gateway closes, be it with bytes of ours unread."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    pairs = (each.partition(":") for each in fields)
    return Answer(int(line.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


@pytest.fixture(scope="module")
def stage(sonant: Sonant) -> Iterator[Stage]:
    with httpx.Client(base_url=sonant.url, timeout=ANSWER_SECONDS) as client:
        yield staged(sonant, client)


def staged(sonant: Sonant, client: httpx.Client) -> Stage:
    def issue(organization: str, *scopes: str) -> str:
        body = {"name": "bad input", "organization": organization, "scopes": scopes}
        issued = client.post(KEYS, headers=sonant.headers, json=body).json()
        return str(issued["key"])

    revoked = issue("bad-input", "chat", "admin", "resources")
    client.delete(f"{KEYS}/{key_id(revoked)}", headers=sonant.headers)
    return Stage(
        sonant,
        client,
        admin=issue("bad-input", "chat", "admin", "resources"),
        chat=issue("bad-input", "chat"),
        revoked=revoked,
        stranger=issue("stranger", "chat", "admin"),
    )


# -- bodies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """Bytes no write route takes, with what is said of them. `size` is what counts against the limit."""

    name: str
    content: bytes
    told: str
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0


GZIP = {"content_encoding": "gzip"}
NESTED = b"[" * 10_000 + b"]" * 10_000
BODIES = [
    Body("empty", b"", "is empty"),
    Body("blank", b" \n ", "is empty"),
    Body("words", b"hello", "is not valid JSON (line 1, column 1)"),
    Body("cut", b'{"messages": [', "is not valid JSON"),
    Body("trailing", b"{} {}", "is not valid JSON"),
    Body("list", b"[]", "must be a JSON object"),
    Body("text", b'"hi"', "must be a JSON object"),
    Body("null", b"null", "must be a JSON object"),
    Body("form", b"model=default&messages=hi", "is not valid JSON"),
    Body("invalid UTF-8", b'{"messages": "\xff\xfe"}', "is not valid UTF-8"),
    Body("UTF-16", '{"a": 1}'.encode("utf-16"), "is not valid UTF-8"),
    Body("surrogate as bytes", b'{"a": "\xed\xa0\x80"}', "is not valid UTF-8"),
    Body("lone surrogate", rb'{"a": "\ud800"}', "is not valid JSON"),
    Body("lone surrogate as a name", rb'{"\udfff": 1}', "is not valid JSON"),
    Body("raw NUL", b'{"a": "\x00"}', "is not valid JSON"),
    Body("huge exponent", b'{"a": 1e400}', "is not valid JSON"),
    Body("endless number", b'{"a": ' + b"9" * 3000 + b"}", "is not valid JSON"),
    Body("NaN", b'{"a": NaN}', "is not valid JSON"),
    Body("Infinity", b'{"a": -Infinity}', "is not valid JSON"),
    Body("10,000 nested lists", b'{"messages": ' + NESTED + b"}", "nested more than 64", size=20_000),
    Body("10,000 nested objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested more than 64", size=60_000),
    Body("10,000 open brackets", b"[" * 10_000, "is not valid JSON", size=10_000),
    Body("10 MB", b'{"a": "' + b"a" * 10_000_000 + b'"}', "larger than", 413),
    Body("gzip bomb", gzip.compress(b" " * 64_000_000, 1), "larger than", 413, GZIP),
    Body("deflate bomb", zlib.compress(b" " * 32_000_000, 1), "larger than", 413, {"content_encoding": "deflate"}),
    Body("not gzip", b'{"a": 1}', "could not be read", headers=GZIP),
    Body("cut gzip", gzip.compress(b'{"a": 1}')[:-12], "is not valid JSON", headers=GZIP),
    Body("not deflate", b'{"a": 1}', "could not be read", headers={"content_encoding": "deflate"}),
    Body("brotli", b"\x0b\x02\x80{}\x03", "Content-Encoding", 415, {"content_encoding": "br"}),
    Body("zstd", b"\x28\xb5\x2f\xfd", "Content-Encoding", 415, {"content_encoding": "zstd"}),
    Body(
        "gzip twice", gzip.compress(gzip.compress(b"{}")), "Content-Encoding", 415, {"content_encoding": "gzip, gzip"}
    ),
    Body("unknown encoding", b"{}", "Content-Encoding 'rot13'", 415, {"content_encoding": "rot13"}),
]


@pytest.mark.parametrize("writes", TOGETHER, ids=NAMES)
async def test_a_body_that_is_none_is_refused_with_its_reason(stage: Stage, writes: list[tuple[str, str]]) -> None:
    async with stage.nothing_changes():
        for (method, path), body in product(writes, BODIES):
            answer = stage.send(method, path, body.content, **body.headers)
            if max(body.size, len(body.content) * (not body.headers)) > WRITES[method, path]:
                answer.error(413, "larger than", code="request_too_large")
            else:
                answer.error(body.status, body.told)


@pytest.mark.parametrize("writes", TOGETHER, ids=NAMES)
async def test_a_body_without_a_length_is_refused_where_it_grows_too_large(
    stage: Stage, writes: list[tuple[str, str]]
) -> None:
    chunk = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    async with stage.nothing_changes():
        for method, path in writes:
            line = f"{method} {path.replace('OWN', key_id(stage.chat))} HTTP/1.1".encode()
            with stage.connected() as connection:
                connection.sendall(stage.head(line, b"transfer-encoding: chunked"))
                # More than any route takes, and never an end.
                connection.sendall(chunk * 5)
                parsed(connection.recv(65536)).error(413, "larger than", code="request_too_large")


async def test_a_body_whose_numbers_are_written_longer_than_they_came_is_refused(stage: Stage) -> None:
    numbers = b",".join([b"1e15"] * 800_000)
    body = b'{"messages": [{"role": "user", "content": "hi"}], "metadata": [' + numbers + b"]}"
    assert len(body) < WRITES["POST", CHAT]
    async with stage.nothing_changes():
        stage.send("POST", CHAT, body).error(413, "written out as JSON, is larger than", code="request_too_large")


def messages(count: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}] * count}


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


SET: dict[str, Any] = {"configId": "a", "promptId": "a"}
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


# -- ids, queries, headers ------------------------------------------------------------------------------------------

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
    for method, path in (("GET", "/"), ("POST", "/v1/completions"), ("GET", "/%00%ff"), ("GET", "/../../etc/passwd")):
        stage.send(method, path).error(404, "Unknown request URL", code="unknown_url")
    for method, path in (("GET", CHAT), ("DELETE", CHAT), ("PATCH", KEYS), ("POST", "/v1/models"), ("PUT", "/healthz")):
        answer = stage.send(method, path)
        answer.error(405, "does not answer", code="method_not_allowed")
        assert answer.headers["allow"]


async def test_odd_but_valid_texts_are_answered(stage: Stage) -> None:
    text = rb'"\u0000 \ud83d\ude00 \uffff \u202e"'
    body = b'{"messages": [{"role": "user", "content": ' + text + b'}], "max_tokens": 18446744073709551615}'
    answer = stage.post(CHAT, body)
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["finish_reason"] == "stop"


# -- keys -----------------------------------------------------------------------------------------------------------


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


# -- below JSON -----------------------------------------------------------------------------------------------------

MANY_HEADERS = tuple(b"x-%d: v" % number for number in range(1000))
BAD_HTTP = [
    (b"GET /v1/models HTTP/1.1", MANY_HEADERS),
    (b"GET /v1/models HTTP/1.1", (b"x-bomb: " + b"a" * 1_000_000,)),
    (b"GET /v1/models HTTP/1.1", (b"cookie: " + b"a=b; " * 10_000,)),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", ()),
    (b"GET /v1/usage?model=" + b"%41" * 10_000 + b" HTTP/1.1", ()),
    (b"GET /v1/models/\xff\xfe HTTP/1.1", ()),
    (b"GET /v1/models HTTP/1.1", (b"x-nul: a\x00b",)),
    (b"GET /v1/models HTTP/1.1", (b"no colon",)),
    (b"GET /v1/models HTTP/1.1", (b"bad name : v",)),
    (b"GET /v1/models HTTP/1.1", (b"folded: a", b" b")),
    (b"GET /v1/models HTTP/9.9", ()),
    (b"GET v1/models HTTP/1.1", ()),
    (b"G\x00T / HTTP/1.1", ()),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: -1",)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 1e3",)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: " + b"9" * 30,)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 2", b"content-length: 3")),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 2", b"transfer-encoding: chunked")),
    (b"POST /v1/chat/completions HTTP/1.1", (b"transfer-encoding: chunked, rot13",)),
]


async def test_what_is_no_http_gets_the_one_shape_too(stage: Stage) -> None:
    async with stage.nothing_changes():
        for line, fields in BAD_HTTP:
            stage.raw(stage.head(line, *fields)).error(400, "not valid HTTP", code="bad_http")
        for garbage in (
            b"hello\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            stage.raw(garbage).error(400, "not valid HTTP", code="bad_http")


async def test_a_broken_chunk_is_refused(stage: Stage) -> None:
    head = stage.head(b"POST /v1/chat/completions HTTP/1.1", b"transfer-encoding: chunked")
    async with stage.nothing_changes():
        for chunk in (b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n"):
            stage.raw(head + chunk).error(400)


async def test_garbage_behind_a_good_request_spoils_only_itself(stage: Stage) -> None:
    head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: " + stage.chat.encode() + b"\r\n\r\n"
    async with stage.nothing_changes():
        with stage.connected() as connection:
            connection.sendall(head)
            assert parsed(connection.recv(65536)).status == 200
            connection.sendall(head + b"\x00GARBAGE\r\n\r\n" + head)
            # The parser answers for all it was given at once: whatever came first, nothing follows the refusal.
            last = b"HTTP/1." + read_all(connection).rpartition(b"HTTP/1.")[2]
            parsed(last).error(400, "not valid HTTP", code="bad_http")


async def test_an_unmet_expectation_is_refused(stage: Stage) -> None:
    async with stage.nothing_changes():
        stage.post(CHAT, GOOD, expect="bananas").error(417, "100-continue", code="expectation_failed")


async def test_half_requests_hold_nobody_up(stage: Stage) -> None:
    """Three hundred connections that never finish their request: others are served, and nothing is left of them."""
    gateway = psutil.Process(stage.sonant.pid("gateway"))
    halves = (
        b"POST /v1/chat/compl",
        stage.head(b"POST /v1/chat/completions HTTP/1.1", b"content-length: 99") + b'{"mess',
    )
    files = gateway.num_fds()
    async with stage.nothing_changes():
        with ExitStack() as stack:
            for number in range(300):
                connection = stack.enter_context(stage.connected())
                connection.sendall(halves[number % 2])
            await eventually(lambda: gateway.num_fds() >= files + 300)
            assert stage.post(CHAT, {}).status == 400
            assert stage.send("GET", "/v1/models").status == 200
        await eventually(lambda: gateway.num_fds() < files + 20)


async def test_bombs_leave_the_gateway_as_small_as_it_was(stage: Stage) -> None:
    gateway = psutil.Process(stage.sonant.pid("gateway"))
    bombs = [body for body in BODIES if len(body.content) > 10_000]

    def explode() -> None:
        for bomb in bombs:
            assert 400 <= stage.send("POST", CHAT, bomb.content, **bomb.headers).status < 500
        stage.post(CHAT, messages(100_000)).error(400, code="too_many_messages")
        for line, fields in BAD_HTTP:
            stage.raw(stage.head(line, *fields)).error(400)

    # The first round fills the allocator's pools, once and for good.
    explode()
    before = gateway.memory_info().rss
    async with stage.nothing_changes():
        for _ in range(10):
            explode()
    assert gateway.memory_info().rss - before < KEPT_BYTES
    assert stage.sonant.pid("gateway") == gateway.pid

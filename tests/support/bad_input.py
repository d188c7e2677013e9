"""What bad input is tried on: every route, an organisation to be abused, and bodies that no route takes."""

import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.sonant import Sonant
from tests.support.waiting import eventually

MIB = 1024 * 1024
CHAT, PLATFORM = "/v1/chat/completions", "/chat/completions"
DIALECT, RESPONSES = "/v1/dialects/hume/chat/completions", "/v1/responses"
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
    ("POST", DIALECT): 4 * MIB,
    ("POST", RESPONSES): 4 * MIB,
    ("POST", INTERRUPT): 4096,
    ("POST", KEYS): 16 * 1024,
    ("POST", ROTATE): 16 * 1024,
    **dict.fromkeys(RESOURCE_WRITES, MIB),
}
# What is tried in one go: resources are many routes over one way to read a body.
TOGETHER = [*([write] for write in WRITES if write not in RESOURCE_WRITES), list(RESOURCE_WRITES)]
NAMES = ["chat", "platform", "dialect", "responses", "interrupt", "keys", "rotate", "resources"]
RESOURCE_READS = (*KINDS, "/api/hume/auth", ACTIVE, f"{ACTIVE}/history", f"{ACTIVE}/diff?old=1&new=2", AUDIT)
READS = (
    "/v1/models",
    "/v1/models/default",
    "/v1/usage",
    KEYS,
    f"{CHAT}/chatcmpl-{'0' * 32}/stream",
    f"{RESPONSES}/resp_{'0' * 32}?stream=true",
    *RESOURCE_READS,
)
GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "Say: still here"}]}
# No answer of a server that has understood takes longer, and no bad request may hold its connection longer.
ANSWER_SECONDS = 20.0
# Metrics that tell what became of requests.
COUNTED = (
    "sonant_events_handled_total",
    "sonant_events_in_hand",
    "sonant_chat_turns_total",
    "sonant_turns_stored_total",
)
# Of these what others do, and what gateways do by themselves: they send canaries, and tell their tallies.
OTHERS = ("chat.models.requested", "usage.requested", '"interactions.')
SET: dict[str, Any] = {"configId": "a", "promptId": "a"}


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
                if line.startswith(COUNTED):
                    name, _, value = line.rpartition(" ")
                    if not any(other in name for other in OTHERS):
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
            return seen[-1] if seen[-1] == seen[-2] and self.all_stored(seen[-1]["totals"]) else None

        found: dict[str, Any] = await eventually(still, interval=0.05)
        return found

    def all_stored(self, totals: Mapping[str, float]) -> bool:
        """Whether no turn is under way, and each that ended is in the database."""
        ended = summed(totals, "llm-stream sonant_chat_turns_total")
        return not summed(totals, "llm-stream sonant_events_in_hand") and self.stored_of(totals) == ended

    def stored_of(self, totals: Mapping[str, float]) -> float:
        return summed(totals, "telemetry sonant_turns_stored_total")

    def stored(self) -> float:
        return self.stored_of(self.state()["totals"])

    @asynccontextmanager
    async def a_turn(self) -> AsyncIterator[None]:
        """What happens inside is a turn, awaited until the database holds it: the next test finds nothing under way."""
        before = self.stored()
        yield
        await eventually(lambda: self.stored() > before)

    async def good_turn(self) -> None:
        """One good request of another organisation.

        What a bad request before it may have published has gone the same way by the time it is stored.
        """
        async with self.a_turn():
            answer = self.client.post(CHAT, headers=self.sonant.headers, json=GOOD)
            assert answer.json()["choices"][0]["message"]["content"] == "still here"

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


def summed(totals: Mapping[str, float], prefix: str) -> float:
    return sum((value for name, value in totals.items() if name.startswith(prefix)), 0.0)


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


def messages(count: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}] * count}

"""The dearest inputs within the documented limits, and how long each keeps the event loop of a service from others."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.support.sonant import Sonant

SERVICES = ("gateway", "llm-stream", "resources", "telemetry")
MIB = 1024 * 1024
CHAT, TOOLS, PROMPTS = "/v1/chat/completions", "/api/hume/tools", "/api/hume/prompts"
Send = Callable[[httpx.Client], httpx.Response]

# -- what a caller sends ---------------------------------------------------------------------------------------


def _chat(**body: Any) -> Send:
    content = orjson.dumps({"model": "plain", "messages": [{"role": "user", "content": "x"}], **body})
    return lambda client: client.post(CHAT, content=content)


def _tool(parameters: Any) -> Send:
    return lambda client: client.post(TOOLS, json={"name": "dear_tool", "parameters": parameters})


def _schema(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"city": members}}


def _many(item: Any, size: int = 4 * MIB - 400) -> list[Any]:
    return [item] * (size // (len(orjson.dumps(item)) + 1))


# Beside one prompt whose lines alternate, in another order: the worst that a comparison of lines meets.
def _lines(first: str, second: str) -> str:
    return f"{first}\n{second}\n" * 4_250


def _diff(client: httpx.Client) -> httpx.Response:
    def made(body: Mapping[str, Any], path: str) -> dict[str, Any]:
        answer = client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        [kept] = answer.json().values()
        return dict(kept)

    project = f"dear-{uuid.uuid4().hex[:8]}"
    texts = (_lines("a", "b"), _lines("b", "a"))
    prompts = [made({"name": f"{project} {text[0]}", "text": text}, PROMPTS) for text in texts]
    config = made({"name": project, "evi_version": "3"}, "/api/hume/configs")
    for prompt in prompts:
        pins = {"configId": config["id"], "promptId": prompt["id"], "projectId": project}
        switched = client.put("/v1/active", params={"layer": "project"}, json=pins)
        assert switched.status_code == 200, switched.text
    query = {"layer": "project", "projectId": project, "old": "1", "new": "2"}
    return client.get("/v1/active/diff", params=query)


REQUESTS: Mapping[str, Send] = {
    "messages that are none": _chat(messages=_many(1)),
    "messages without a role": _chat(messages=_many({}, 740_000)),
    "contents that are none": _chat(messages=[{"role": "user", "content": _many(1)}]),
    "stops that are none": _chat(stop=_many(1)),
    "tools that are none": _chat(tools=_many(1)),
    "a content in very many parts": _chat(messages=[{"role": "user", "content": _many({"type": "text", "text": "x"})}]),
    "a field of very many lists": _chat(x=_many([], 740_000)),
    "unknown fields": lambda client: client.post(PROMPTS, json={"name": "n", "text": "t"} | _fields(60_000)),
    "unknown fields within": lambda client: client.post(
        "/api/hume/configs", json={"name": "n", "evi_version": "3", "timeouts": _fields(60_000)}
    ),
    "a long list of types": _tool(_schema(type=_many("string", 60_000))),
    "a long list of values": _tool(_schema(enum=_many({}, 60_000))),
    "a list of required names": _tool({**_schema(), "required": [f"n{number}" for number in range(6_000)]}),
    "very many choices": _tool(_schema(anyOf=_many({"type": "string"}, 60_000))),
    "a pattern in parentheses": _tool(_schema(pattern="(" * 5_000 + ")" * 5_000)),
    "a pattern without end": _tool(_schema(pattern="a{99999999999999}")),
    "a pattern of repeated groups": _tool(_schema(pattern="(" * 12 + "a" + "{1,60})" * 12)),
    "two prompts of 17 KB": _diff,
}


def _fields(count: int) -> dict[str, int]:
    return {f"unknown_{number}": number for number in range(count)}


# -- what an upstream says -------------------------------------------------------------------------------------


def _chunk(text: str, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text, **delta} if text else delta, "finish_reason": None}
    return orjson.dumps({"object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def _nested(count: int) -> bytes:
    return b'{"choices":[{"index":0,"delta":{"content":"x"},"extra":[' + b",".join([b"[]"] * count) + b"]}]}"


LONG = 7 * MIB
ANSWERS: Mapping[str, tuple[bytes, ...]] = {
    "60,000 end marks": (_chunk("!" * 60_000),),
    "60,000 end marks with quotes": (_chunk("!'" * 30_000),),
    "end marks one by one": tuple(_chunk("!") for _ in range(3_000)),
    "ends of sentences alone": (_chunk(". " * (LONG // 2)),),
    "one text of 7 MB": (_chunk("a" * LONG),),
    "one text of 7 MB in escapes": (_chunk('"' * (LONG // 2)),),
    "a chunk of very many lists": (_nested(2_000_000),),
    "a chunk of many lists": (_nested(90_000),),
    "very many choices": (orjson.dumps({"choices": [{"index": n, "delta": {"content": "x"}} for n in range(90_000)]}),),
    "no JSON of 7 MB": (b'{"choices":[NaN' + b",[]" * (LONG // 3) + b"]}",),
    "an error of 7 MB": (orjson.dumps({"error": {"message": "bearer " * (LONG // 7)}}),),
}


@contextmanager
def upstream() -> Iterator[str]:
    """An upstream that says the answer which the last message of a request names; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            said = ANSWERS.get(str(asked["messages"][-1]["content"]), (_chunk("hello"),))
            end = orjson.dumps({"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            body = b"".join(b"data: %b\n\n" % each for each in (*said, end, b"[DONE]"))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return  # the service has heard enough

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def models_text(url: str) -> str:
    """Aliases on that upstream: `plain` passes text on as it comes, `held` sentence by sentence."""
    one = f'base_url = "{url}"\nmodel = "m"\nprovider = "dear"\n'
    return "".join(
        f'[aliases.{alias}]\nrelease = "{release}"\n[[aliases.{alias}.upstreams]]\nname = "{alias}"\n{one}'
        for alias, release in (("default", "tokens"), ("plain", "tokens"), ("held", "sentences"))
    )


def _heard(name: str, model: str) -> Send:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": name}]}
    return lambda client: client.post(CHAT, json=body)


INPUTS: Mapping[str, Send] = {
    **REQUESTS,
    **{f"{name}, {model}": _heard(name, model) for name in ANSWERS for model in ("plain", "held")},
}

# -- what it costs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """The longest pause of a loop: at most so many seconds, and of these at most so many at work."""

    seconds: float
    worked: float


def pauses(sonant: Sonant, client: httpx.Client, send: Send) -> tuple[httpx.Response, dict[str, Pause]]:
    """The answer to an input, and the longest pause of every service meanwhile, to the next bound of its buckets."""
    before = {service: _counts(sonant, service) for service in SERVICES}
    answer = send(client)
    after = {service: _counts(sonant, service) for service in SERVICES}
    return answer, {
        service: Pause(*(_longest(before[service][name], after[service][name]) for name in NAMES))
        for service in SERVICES
    }


# For a system whose pauses are to be told exactly.
LOOK_OFTEN = {"SONANT_PAUSE_LOOK_SECONDS": "0.02"}
NAMES = ("sonant_loop_pause_seconds", "sonant_loop_pause_cpu_seconds")
Counts = Mapping[float, float]


def _counts(sonant: Sonant, service: str) -> Mapping[str, Counts]:
    families = text_string_to_metric_families(sonant.ops(service, "/metrics").text)
    found = {family.name: family for family in families if family.name in NAMES}
    return {
        name: {float(each.labels["le"]): each.value for each in found[name].samples if each.name.endswith("_bucket")}
        for name in NAMES
    }


def _longest(before: Counts, after: Counts) -> float:
    """The bound of the highest bucket that grew, 0 where none did: counts add up from one bucket to the next."""
    longest, below = 0.0, 0.0
    for bound in sorted(after):
        grown = after[bound] - before[bound]
        longest = bound if grown > below else longest
        below = grown
    return longest

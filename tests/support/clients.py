"""What the clients of a system test need: keys of their own, server-sent events as sent, what the upstream saw."""

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.support.sonant import ROOT, STOP_SECONDS, Sonant, free_port
from tests.support.waiting import eventually

# Longer than any answer of the shared aliases takes on a busy machine.
CLIENT_SECONDS = 60.0
GATEWAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Key:
    """An API key made for one test, in an organisation of its own where none is named."""

    id: str
    text: str
    organization: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


def new_key(sonant: Sonant, organization: str | None = None, **fields: Any) -> Key:
    """A key with scope `chat`; `fields` (scopes, limits, expires_in) go into the request as they are."""
    organization = organization or f"org-{uuid.uuid4().hex[:12]}"
    body = {"name": "system test", "organization": organization, **fields}
    answer = httpx.post(f"{sonant.url}/v1/admin/keys", headers=sonant.headers, json=body)
    assert answer.status_code == 201, answer.text
    return Key(answer.json()["id"], answer.json()["key"], organization)


@asynccontextmanager
async def client(url: str, headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of one gateway."""
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=CLIENT_SECONDS) as opened:
        yield opened


def chat(text: str, model: str = "default", **fields: Any) -> dict[str, Any]:
    """The body of a chat request with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@dataclass(frozen=True, slots=True)
class Sse:
    """One server-sent event: its id where it had one, and its data."""

    id: int | None
    data: str

    @property
    def done(self) -> bool:
        return self.data == "[DONE]"

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.data)
        return parsed

    @property
    def text(self) -> str:
        """What this event adds to the answer."""
        if self.done or "error" in self.json:
            return ""
        return "".join(choice["delta"].get("content") or "" for choice in self.json["choices"])


async def events(response: httpx.Response) -> AsyncIterator[Sse]:
    """The events of a stream, strictly read: nothing but ids, data, comments and blank lines."""
    number: int | None = None
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield Sse(number, line[6:])
            number = None
        else:
            assert not line or line.startswith(":"), line


async def all_events(response: httpx.Response) -> list[Sse]:
    """Everything until the end of the stream."""
    return [event async for event in events(response)]


def text_of(received: list[Sse]) -> str:
    return "".join(event.text for event in received)


def calls(sonant: Sonant, marker: str) -> list[dict[str, Any]]:
    """What the upstream saw of the requests whose last message contains `marker`."""
    found = sonant.sandbox("requests", limit=300)
    # Those of other providers have bodies of other kinds.
    asked = [call for call in found if isinstance(call["body"], dict)]
    return [call for call in asked if marker in str((call["body"].get("messages") or [{}])[-1].get("content"))]


async def upstream_end(sonant: Sonant, marker: str) -> str:
    """How the one upstream call of a request ended, as soon as it has."""

    def ended() -> str:
        (call,) = calls(sonant, marker) or [{"end": None}]
        return call["end"] or ""

    return await eventually(ended)


async def upstream_asked(sonant: Sonant, marker: str) -> None:
    """Wait until the upstream has been asked."""
    await eventually(lambda: calls(sonant, marker))


@asynccontextmanager
async def second_gateway(sonant: Sonant, directory: Path, **settings: str) -> AsyncIterator[str]:
    """Another gateway on the engines of a running system, with these settings; yields its URL."""
    urls = orjson.loads((sonant.data_dir / "urls.json").read_bytes())
    port = free_port()
    env = {f"SONANT_{name.upper()}_URL": url for name, url in urls.items()}
    env |= {"SONANT_PORT": str(port), "SONANT_INSTANCE": "gateway-1", "SONANT_DATA_DIR": str(directory)}
    with (directory / "gateway.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={**os.environ, **env, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await eventually(lambda: _ready(url), timeout=GATEWAY_SECONDS)
        yield url
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False

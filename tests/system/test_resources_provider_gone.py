"""The voice provider goes away for good or for a while: what was read or imported is still answered, writes say so."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from tests.support.clients import CLIENT_SECONDS, client, new_key
from tests.support.sonant import ROOT, Sonant, free_port, sandbox_process, sonant_system
from tests.support.waiting import eventually

BACK_SECONDS = 60.0
ORGANIZATION, KEY = "acme", "acme-hume-key"
PROJECT = "project-456"
SCHEMA = '{"type": "object", "properties": {}}'
BREAKER = f'sonant_api_breaker_open{{account="{ORGANIZATION}",provider="hume"}}'


@dataclass
class Door:
    """A port that leads to the provider, or to nobody."""

    provider_url: str
    port: int = field(default_factory=free_port)
    _server: asyncio.Server | None = None
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Refuse connections, and end those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(self.provider_url)
        there, answer = await asyncio.open_connection(url.hostname, url.port)
        try:
            await asyncio.gather(_copy(reader, answer), _copy(there, writer))
        finally:
            for end in (writer, answer):
                end.close()


async def _copy(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            into.write(data)
            await into.drain()
    into.close()


@dataclass(frozen=True)
class Provider:
    """The provider's side: its door, and how its account fares."""

    door: Door
    console: httpx.AsyncClient

    async def goes(self, how: str) -> None:
        """Away: `refused`, or what the sandbox calls the fault."""
        if how == "refused":
            await self.door.shut()
        else:
            await self._arrange({"do": how, "times": None})

    async def is_back(self) -> None:
        await self.door.open()
        await self._arrange()

    async def _arrange(self, *faults: dict[str, Any]) -> None:
        answer = await self.console.put(f"/sandbox/hume/accounts/{KEY}", json={"faults": list(faults)})
        assert answer.status_code == 200, answer.text

    async def made(self, kind: str, **body: Any) -> str:
        """Something that is made there, past us."""
        answer = await self.console.post(f"/v0/evi/{kind}s", json=body, headers={"X-Hume-Api-Key": KEY})
        assert answer.is_success, answer.text
        return str(answer.json()["id"])


@pytest.fixture(scope="module")
def provider_url() -> Iterator[str]:
    with sandbox_process() as url:
        yield url


@pytest.fixture(scope="module")
async def door(provider_url: str) -> AsyncIterator[Door]:
    made = Door(provider_url)
    await made.open()
    yield made
    await made.shut()


@pytest.fixture(scope="module")
def system(door: Door) -> Iterator[Sonant]:
    env = {
        "SONANT_HUME_BASE_URL": f"http://127.0.0.1:{door.port}",
        "SONANT_HUME_ORGANIZATIONS": f"{ORGANIZATION}=ACME_HUME_KEY",
        "ACME_HUME_KEY": KEY,
        "ACME_HUME_KEY_SECRET": "secret",
        # What is cached must not be all that answers.
        "SONANT_RESOURCE_CACHE_SECONDS": "1",
    }
    with sonant_system(env=env) as started:
        yield started


@pytest.fixture
async def provider(provider_url: str, door: Door) -> AsyncIterator[Provider]:
    async with httpx.AsyncClient(base_url=provider_url, timeout=CLIENT_SECONDS) as console:
        made = Provider(door, console)
        yield made
        await made.is_back()


@pytest.fixture
async def api(system: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    key = new_key(system, ORGANIZATION, scopes=["resources"])
    async with client(system.url, {**key.headers, "x-user-id": f"user-{uuid.uuid4().hex[:8]}"}) as opened:
        yield opened


async def furnished(api: httpx.AsyncClient) -> dict[str, str]:
    """One of each kind, made through us and active; ids by kind."""
    mark, ids = uuid.uuid4().hex[:8], {}
    bodies: dict[str, dict[str, Any]] = {
        "prompt": {"text": "one"},
        "config": {"evi_version": "3"},
        "tool": {"parameters": SCHEMA},
        "voice": {"generation_id": "g"},
    }
    for kind, body in bodies.items():
        answer = await api.post(f"/api/hume/{kind}s", json={"name": f"{kind}_{mark}", **body})
        assert answer.status_code == 201, answer.text
        ids[kind] = answer.json()[kind]["id"]
    answer = await api.put("/api/hume/prompts", params={"id": ids["prompt"]}, json={"text": "two"})
    assert answer.status_code == 200, answer.text
    pins = {"configId": ids["config"], "promptId": ids["prompt"], "tools": [{"toolId": ids["tool"]}]}
    answer = await api.put("/v1/active", json={"projectId": PROJECT, **pins})
    assert answer.status_code == 200, answer.text
    return ids


async def imported(system: Sonant, provider: Provider) -> str:
    """The id of a prompt that nobody has read here, only copied."""
    id = await provider.made("prompt", name=f"theirs {uuid.uuid4().hex}", text="from their console")
    urls = orjson.loads((system.data_dir / "urls.json").read_bytes())
    command = [str(Path(sys.executable).with_name("sonant")), "import", "hume", "--org", ORGANIZATION]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env={**os.environ, **{f"SONANT_{name.upper()}_URL": url for name, url in urls.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return id


def reads(ids: dict[str, str]) -> list[str]:
    """Everything that can be asked about these."""
    paths = [f"/api/hume/{kind}s?id={id}" for kind, id in ids.items()]
    paths += [f"/api/hume/{kind}s?id={id}&version=0" for kind, id in ids.items()]
    paths += [f"/api/hume/{kind}s?id={id}&versions=true" for kind, id in ids.items()]
    paths += [f"/api/hume/{kind}s?page_size=100" for kind in ids]
    return [*paths, f"/v1/active?projectId={PROJECT}", f"/api/hume/prompts?active=true&projectId={PROJECT}"]


async def all_read(api: httpx.AsyncClient, paths: list[str]) -> tuple[dict[str, Any], float]:
    """What is answered, one after the other, and the longest wait in seconds."""
    told, longest = {}, 0.0
    for path in paths:
        began = time.monotonic()
        answer = await api.get(path)
        longest = max(longest, time.monotonic() - began)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        told[path] = {**answer.json(), "clock": None}
    return told, longest


def writes(id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every change of a prompt that is in no set: method, path and what it carries."""
    path = "/api/hume/prompts"
    return [
        ("POST", path, {"json": {"name": uuid.uuid4().hex, "text": "t"}}),
        ("PUT", path, {"params": {"id": id}, "json": {"text": "three"}}),
        ("PATCH", path, {"params": {"id": id}, "json": {"name": uuid.uuid4().hex}}),
        ("DELETE", path, {"params": {"id": id}}),
    ]


async def all_refused(api: httpx.AsyncClient, tried: list[tuple[str, str, dict[str, Any]]]) -> float:
    """Every one of these is refused clearly; returns the longest wait in seconds."""
    longest = 0.0
    for method, path, fields in tried:
        began = time.monotonic()
        answer = await api.request(method, path, **fields)
        longest = max(longest, time.monotonic() - began)
        assert answer.status_code in (502, 503), answer.text
        error = answer.json()["error"]
        assert error["code"] == "provider_unavailable"
        if "left alone" in error["message"]:
            assert int(answer.headers["retry-after"]) >= 1
    return longest


def uncopied() -> list[tuple[str, str, dict[str, Any]]]:
    """Questions that only the provider can answer."""
    named = {"params": {"name": uuid.uuid4().hex}}
    return [("GET", "/api/hume/auth", {}), ("GET", "/api/hume/prompts", named), ("GET", "/api/hume/voices", named)]


def breaker(system: Sonant) -> float:
    """1 while it is open, as the metrics have it."""
    lines = system.ops("resources", "/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(BREAKER))


@pytest.mark.parametrize("how", ["refused", "status-410", "silence"])
async def test_reads_go_on_and_writes_say_so_until_it_is_back(
    system: Sonant, api: httpx.AsyncClient, provider: Provider, how: str
) -> None:
    ids = await furnished(api)
    unread = await imported(system, provider)
    paths = reads(ids)
    before, _ = await all_read(api, paths)
    # Past the time for which the cache answers alone.
    await asyncio.sleep(1.1)
    await provider.goes(how)

    # Before the breaker knows.
    (told, at_first), *waits = await asyncio.gather(
        all_read(api, [f"/api/hume/prompts?id={unread}", *paths]),
        *(all_refused(api, [asked]) for asked in [writes(unread)[0], *uncopied()]),
    )
    assert told.pop(f"/api/hume/prompts?id={unread}")["prompt"]["text"] == "from their console"
    assert known(told, ids) == known(before, ids)
    waited = max(*waits, await all_refused(api, writes(unread)))
    await eventually(lambda: breaker(system) == 1, timeout=BACK_SECONDS)
    told, later = await all_read(api, paths)
    assert known(told, ids) == known(before, ids)
    assert system.ready("resources", "gateway")
    print(f"{how}: longest read {at_first:.2f} s, then {later:.2f} s; longest refusal {waited:.2f} s")

    await provider.is_back()

    async def written() -> bool:
        answer = await api.put("/api/hume/prompts", params={"id": ids["prompt"]}, json={"text": "back"})
        return answer.status_code == 200

    await eventually(written, timeout=BACK_SECONDS, interval=0.5)
    assert breaker(system) == 0
    latest = (await api.get("/api/hume/prompts", params={"id": ids["prompt"]})).json()["prompt"]
    assert latest["text"] == "back"


def known(told: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """Answers to compare: of a list only what the test made, since its total and order are not the provider's."""
    listed = {path: body for path, body in told.items() if "page_size" in path}
    mine = {
        path: [each for kind in ids for each in body.get(f"{kind}s", []) if each["id"] in ids.values()]
        for path, body in listed.items()
    }
    return {**told, **mine}

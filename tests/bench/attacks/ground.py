"""What an attack stands on: a running system, keys of its own, and the account of what was sent and what accepted."""

import asyncio
import select
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from tests.bench.attacks.watch import Watch
from tests.bench.load import address, post_request
from tests.bench.system import BenchError, Target

# Answers from behind the log: whoever gets one of these is owed a fact.
ACCEPTED = frozenset({200, 502, 504})
# More than any attack asks for, so that what holds is a bound of the system and not the limit of a key.
UNLIMITED = {"requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000, "concurrent_streams": 100_000}
# An attacker comes back at once, but not in a busy loop of its own.
PAUSE_SECONDS = 0.02
CONNECT_SECONDS = 10.0
# Connections opened at a time, as every server's backlog is bounded.
CONNECTING = 100
SMALL_BUFFER = 4096
LOOK_SECONDS = 0.5

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Ground:
    """The system under attack until `ends` (monotonic seconds).

    `answers` counts statuses, and in words what came instead of one. `accepted` holds the session of every chat that
    was accepted. `figures` are what the attack itself measured, by name.
    """

    target: Target
    session: aiohttp.ClientSession
    ends: float
    watch: Watch
    answers: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    figures: dict[str, float] = field(default_factory=dict)
    _connecting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTING))

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.ends

    async def key(self, *scopes: str, **limits: int) -> str:
        """A key of a new organisation; without limits unless they are named."""
        body = {
            "name": "attacker",
            "organization": f"attacker-{uuid.uuid4().hex[:12]}",
            "scopes": scopes or ("chat",),
            "limits": limits or UNLIMITED,
        }
        async with self.session.post("/v1/admin/keys", json=body, headers=bearer(self.target.key)) as answer:
            if answer.status != 201:
                raise BenchError(f"no key for the attack: {await answer.text()}")
            return str((await answer.json())["key"])

    async def repeat(self, lanes: int, once: Callable[[], Awaitable[object]]) -> None:
        """Do it again and again in so many lanes, until the time is over; what is then in flight is cut."""

        async def lane() -> None:
            while not self.over:
                await once()
                await asyncio.sleep(PAUSE_SECONDS)

        tasks = [asyncio.create_task(lane()) for _ in range(lanes)]
        await asyncio.wait(tasks, timeout=max(0.0, self.ends - time.monotonic()))
        for task in tasks:
            task.cancel()
        done, _ = await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def call(
        self, method: str, path: str, key: str, body: bytes | Mapping[str, Any] | None = None, **headers: str
    ) -> int:
        """One request to the end of its answer: its status, 0 where none came."""
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = {**bearer(key), "content-type": "application/json", "x-user-id": "attacker"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            async with self.session.request(method, path, data=data, headers=sent) as answer:
                self.answers[str(answer.status)] += 1
                self._note(answer.status, headers)
                async for _ in answer.content.iter_any():
                    pass
                return answer.status
        except (aiohttp.ClientError, OSError) as error:
            self.answers[type(error).__name__] += 1
            return 0

    async def ask(self, key: str, body: bytes | Mapping[str, Any], **headers: str) -> int:
        """One chat request to the end of its answer; where it is accepted, a fact is owed for it."""
        return await self.call("POST", "/v1/chat/completions", key, body, x_session_id=new_session(), **headers)

    def _note(self, status: int, headers: Mapping[str, str]) -> None:
        if status in ACCEPTED and (session := headers.get("x_session_id")):
            self.accepted.add(session)

    async def ask_and_not_read(self, key: str, body: Mapping[str, Any]) -> None:
        """Ask for an answer, read its head, and then nothing more until the server ends the connection."""
        parts, name = urlsplit(self.target.url), new_session()
        request = post_request(parts.netloc, "/v1/chat/completions", key, body, x_session_id=name)
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with self.connection() as (reader, writer):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                self.answers[str(status)] += 1
                self._note(status, {"x_session_id": name})
                if status == 200:
                    await ended(writer)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Streams]:
        """A connection with the smallest buffers that the system grants; nothing is read beyond 4 KiB unasked.

        Raises:
            OSError, TimeoutError: there is none to be had.
        """
        own = socket.socket()
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        try:
            async with self._connecting, asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(own, address(self.target.url))
            reader, writer = await asyncio.open_connection(sock=own, limit=SMALL_BUFFER)
        except BaseException:
            own.close()
            raise
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def ended(writer: asyncio.StreamWriter) -> None:
    """Wait until the other side has closed or reset the connection, without reading."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    while not writer.is_closing() and not poll.poll(0):  # noqa: ASYNC110 - whoever does not read is told nothing
        await asyncio.sleep(LOOK_SECONDS)


def bearer(key: str) -> dict[str, str]:
    """The header by which a key is shown."""
    return {"authorization": f"Bearer {key}"}


def new_session() -> str:
    """A session of its own, by which a request is found among the facts."""
    return f"attack-{uuid.uuid4().hex}"


def chat(model: str, text: str = "Hello.", **fields: Any) -> dict[str, Any]:
    """The body of a streamed chat."""
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **fields}

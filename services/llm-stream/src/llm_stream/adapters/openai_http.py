"""Any OpenAI-compatible upstream over plain aiohttp: bytes in, `data:` payloads out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from common.kernel.retry import retry_after
from llm_stream.models import Upstream
from llm_stream.ports import Patience, UpstreamBroken, UpstreamBusy, UpstreamRefused

# Statuses that say "the request itself is wrong"; 401, 403 and 404 mean that our own configuration is.
REFUSALS = frozenset({400, 413, 422})
# A refusal on grounds of content stays one whatever its status.
FILTERED = frozenset({"content_filter", "content_policy_violation"})
MAX_ERROR_BYTES = 64 * 1024
# The status already says most; what else the upstream has to say must not cost the turn much.
ERROR_BODY_SECONDS = 2.0
READ_BUFFER = 256 * 1024

DONE = b"[DONE]"
# The end of a body that follows its [DONE] is worth this wait in the background: a new connection costs more.
DRAIN_SECONDS = 1.0

# What a lost or refused connection looks like through the client.
LOST = (aiohttp.ClientError, OSError)


class _Watch:
    """Closes a silent response. One lazy timer a stream: a chunk costs one assignment, not a timeout."""

    def __init__(self, response: aiohttp.ClientResponse, first: float, idle: float) -> None:
        self._response = response
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._silent_at = self._loop.time() + first
        self.tripped = False
        self._timer = self._loop.call_at(self._silent_at, self._check)

    def alive(self) -> None:
        self._silent_at = self._loop.time() + self._idle

    def _check(self) -> None:
        if self._loop.time() < self._silent_at:
            self._timer = self._loop.call_at(self._silent_at, self._check)
            return
        self.tripped = True
        self._response.close()

    def stop(self) -> None:
        self._timer.cancel()


class HttpAnswer:
    """The port `Answer` on an aiohttp response."""

    def __init__(self, response: aiohttp.ClientResponse, patience: Patience, first: float, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self._watch = _Watch(response, first, patience.idle)
        self._done = False

    @property
    def drainable(self) -> bool:
        """Whether only the end of the body is missing."""
        return self._done and not self._response.content.at_eof()

    async def events(self) -> AsyncIterator[list[bytes]]:
        rest = b""
        total = 0
        while data := await self._read():
            total += len(data)
            if total > self._max_bytes:
                raise UpstreamBroken("the answer is larger than allowed")
            if b"\r" in data:
                data = data.replace(b"\r\n", b"\n")
            *lines, rest = (rest + data).split(b"\n")
            payloads = [payload for line in lines if line.startswith(b"data:") and (payload := line[5:].strip())]
            if payloads:
                self._watch.alive()
                self._done = payloads[-1] == DONE
                yield payloads
        if rest.startswith(b"data:"):
            yield [rest[5:].strip()]

    async def _read(self) -> bytes:
        """What has arrived, empty at the end. Raises UpstreamBroken."""
        try:
            return await self._response.content.readany()
        except LOST as error:
            raise self._verdict(error) from error

    def _verdict(self, error: Exception) -> UpstreamBroken:
        if self._watch.tripped:
            return UpstreamBroken("the upstream fell silent", silent=True)
        return UpstreamBroken(f"the stream was cut: {type(error).__name__}")

    async def whole(self) -> bytes:
        parts, total = [], 0
        while data := await self._read():
            self._watch.alive()
            total += len(data)
            if total > self._max_bytes:
                raise UpstreamBroken("the answer is larger than allowed")
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        self._watch.stop()
        self._response.close()

    async def drain(self) -> None:
        """Read the end of the body, which gives the connection back."""
        self._watch.stop()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._response.content.readany()
        except (*LOST, TimeoutError):
            return
        finally:
            self._response.close()


class OpenAIHttp:
    """The port `ChatModel` over one shared session; connections are kept alive between turns."""

    def __init__(self, session: aiohttp.ClientSession, max_answer_bytes: int) -> None:
        self._session = session
        self._max_answer_bytes = max_answer_bytes
        self._draining: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def ask(self, upstream: Upstream, body: dict[str, Any], patience: Patience) -> AsyncIterator[HttpAnswer]:
        started = time.monotonic()
        response = await self._post(upstream, body, patience)
        try:
            if response.status >= 300:
                raise await _refusal(response)
        except BaseException:
            response.close()
            raise
        first = max(0.05, patience.first_byte - (time.monotonic() - started))
        answer = HttpAnswer(response, patience, first, self._max_answer_bytes)
        try:
            yield answer
        finally:
            self._leave(answer)

    def _leave(self, answer: HttpAnswer) -> None:
        """A body read to its end gave the connection back; one that is not near its end is closed, not drained."""
        if not answer.drainable:
            answer.close()
            return
        task = asyncio.create_task(answer.drain(), name="drain")
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def close(self) -> None:
        """Wait for the bodies that are being drained."""
        if self._draining:
            await asyncio.wait(self._draining)

    async def _post(self, upstream: Upstream, body: dict[str, Any], patience: Patience) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        try:
            key = upstream.key()
        except KeyError as missing:
            raise UpstreamBroken(f"environment variable {missing} is not set", code="unconfigured") from missing
        # Without a key we still say something: several self-hosted servers insist on the header.
        headers["Authorization"] = f"Bearer {key or 'none'}"
        try:
            async with asyncio.timeout(patience.first_byte):
                return await self._session.post(
                    f"{upstream.base_url.rstrip('/')}/chat/completions",
                    data=orjson.dumps(body),
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect),
                    # A conversation goes where the models file says and nowhere else.
                    allow_redirects=False,
                )
        except TimeoutError as error:
            raise UpstreamBroken("the upstream stayed silent", silent=True) from error
        except LOST as error:
            raise UpstreamBroken(f"connection failed: {type(error).__name__}") from error


async def _refusal(response: aiohttp.ClientResponse) -> Exception:
    """The verdict about a status that is not 2xx."""
    error = await _error_object(response)
    message = str(error.get("message") or f"the upstream answered {response.status}")[:2000]
    code = error.get("code") if isinstance(error.get("code"), str) else None
    if response.status == 429:
        exhausted = code == "insufficient_quota" or response.headers.get("x-should-retry") == "false"
        return UpstreamBusy(message, retry_after=retry_after(response.headers), exhausted=exhausted, code=code)
    if response.status in REFUSALS or code in FILTERED:
        return UpstreamRefused(message, status=response.status, error=error)
    return UpstreamBroken(message, status=response.status, code=code)


async def _error_object(response: aiohttp.ClientResponse) -> dict[str, Any]:
    data = b""
    with contextlib.suppress(*LOST, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            while len(data) < MAX_ERROR_BYTES and (more := await response.content.readany()):
                data += more
    with contextlib.suppress(orjson.JSONDecodeError):
        body = orjson.loads(data)
        error = body.get("error") if isinstance(body, dict) else None
        return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}
    return {}


@asynccontextmanager
async def open_chat_model(max_answer_bytes: int) -> AsyncIterator[OpenAIHttp]:
    """One session for all upstreams; the caller's deadline and our own watch bound every wait."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=30)
    # Conversations of different callers share this session: nothing an upstream sets may travel between them.
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies, read_bufsize=READ_BUFFER) as session:
        chat_model = OpenAIHttp(session, max_answer_bytes)
        yield chat_model
        await chat_model.close()

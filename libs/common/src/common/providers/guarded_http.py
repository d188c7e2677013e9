"""An HTTP client for addresses that callers name: what is connected to is what was checked, and everything ends."""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy
from yarl import URL

from common.failures import ProviderDown, Refused
from common.providers.addresses import AddressRules, not_allowed
from common.providers.policy import TRANSIENT
from common.providers.retry_after import retry_after
from common.providers.urls import allowed_url

CONNECT_SECONDS = 5.0
# Between two pieces of an answer.
IDLE_SECONDS = 10.0
TOTAL_SECONDS = 30.0
MAX_REDIRECTS = 5
MAX_HEADER_BYTES = 8190
MAX_HEADERS = 128
# Of what a receiver says to a webhook, this is enough to see what went wrong.
MAX_REPLY_BYTES = 16 * 1024
MAX_CONNECTIONS = 100
# One host that never answers must not take all of them.
MAX_CONNECTIONS_PER_HOST = 16
# A name server that never answers holds a thread for many seconds. They are not those of the process, which would
# stand still with them.
RESOLVER_THREADS = 8
WRITE_BYTES = 256 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# No compression is accepted; what a server compresses all the same is counted by its decoded size.
HEADERS = {"User-Agent": "Sonant", "Accept-Encoding": "identity"}


class Resolver(Protocol):
    """How names become addresses."""

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a name, the preferred first. Raises OSError."""


class File(Protocol):
    """Where a download goes."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status; `final_url` is where it came from after redirects."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    final_url: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body of `size` bytes that was written to a file."""

    headers: CIMultiDictProxy[str]
    size: int
    final_url: str


class Answer:
    """An answer whose body has yet to be read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.final_url = str(response.url)

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, decoded. Raises `Refused` (413, `response_too_large`) where it is larger, and `ProviderDown`."""
        if (self._response.content_length or 0) > max_bytes:
            raise too_large(max_bytes)
        content, size = self._response.content, 0
        while not content.at_eof():
            with _translated():
                chunk = await content.readany()
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes)
            yield chunk

    async def body(self, max_bytes: int) -> bytes:
        """The whole body. Raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks(max_bytes)])

    async def beginning(self, max_bytes: int) -> bytes:
        """The body up to `max_bytes`; the rest is not read. Raises `ProviderDown`."""
        kept = bytearray()
        while len(kept) < max_bytes and not self._response.content.at_eof():
            with _translated():
                kept += await self._response.content.read(max_bytes - len(kept))
        return bytes(kept)


class GuardedHttp:
    """Requests to addresses that callers name; made by `open_guarded_http`.

    Every method raises `Refused` where the caller should choose another address (400 `url_not_allowed` or
    `too_many_redirects`, 413 `response_too_large`), and `ProviderDown` where there was no answer, or not in time.
    """

    def __init__(self, session: aiohttp.ClientSession, rules: AddressRules) -> None:
        self._session = session
        self._rules = rules

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        seconds: float = TOTAL_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """GET, after up to `MAX_REDIRECTS` redirects; the body has at most `max_bytes`, all of it takes `seconds`."""
        async with self.stream(url, seconds=seconds, headers=headers) as answer:
            body = await answer.body(max_bytes)
        return Fetched(answer.status, answer.headers, body, answer.final_url)

    async def download(
        self,
        url: str,
        file: File,
        *,
        max_bytes: int,
        seconds: float = TOTAL_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> Downloaded:
        """GET into a file. Raises also for a status that is no success, before anything is written.

        A body that turns out too large, or breaks off, leaves what came until then.
        """
        async with self.stream(url, seconds=seconds, headers=headers) as answer:
            _check_status(answer)
            size = await _write(answer, file, max_bytes)
        return Downloaded(answer.headers, size, answer.final_url)

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        seconds: float = TOTAL_SECONDS,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> Fetched:
        """POST, as it is: a redirect is an answer like others, and what is beyond `max_bytes` of it is not read.

        What was signed for one receiver is not passed on to another, and the status is all that counts.
        """
        async with _at_most(seconds):
            response = await self._request("POST", allowed_url(url, self._rules), headers, body)
            try:
                answer = Answer(response)
                return Fetched(answer.status, answer.headers, await answer.beginning(max_bytes), answer.final_url)
            finally:
                response.close()

    @asynccontextmanager
    async def stream(
        self, url: str, *, seconds: float = TOTAL_SECONDS, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Answer]:
        """GET, to be read inside; all of it takes at most `seconds`. The headers are for the first origin alone."""
        async with _at_most(seconds):
            response = await self._followed(allowed_url(url, self._rules), headers)
            try:
                yield Answer(response)
            finally:
                response.close()

    async def _followed(self, url: URL, headers: Mapping[str, str] | None) -> aiohttp.ClientResponse:
        """The first answer that is no redirect."""
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._request("GET", url, headers)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or location is None:
                return response
            response.close()
            previous, url = url, self._next(url, location)
            if url.origin() != previous.origin():
                headers = None
        raise Refused(400, f"The URL leads to more than {MAX_REDIRECTS} redirects.", "too_many_redirects")

    def _next(self, url: URL, location: str) -> URL:
        """Where a redirect leads, with the rules of every URL."""
        try:
            joined = str(url.join(URL(location, encoded=True)))
        except ValueError:
            raise not_allowed("It is redirected to something that is not a URL.") from None
        return allowed_url(joined, self._rules)

    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str] | None, body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        with _translated():
            return await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)


@asynccontextmanager
async def open_guarded_http(
    rules: AddressRules | None = None, *, resolver: Resolver | None = None
) -> AsyncIterator[GuardedHttp]:
    """A client that calls public addresses, and what the rules allow."""
    rules = rules or AddressRules()
    threads = ThreadPoolExecutor(RESOLVER_THREADS, "resolver")
    connector = aiohttp.TCPConnector(
        resolver=_CheckingResolver(resolver or SystemResolver(threads), rules),
        socket_factory=functools.partial(_socket, rules),
        # A name is resolved and checked for every connection, and a connection serves one request: what a host
        # sent beside its answer cannot become the answer to somebody else.
        use_dns_cache=False,
        force_close=True,
        limit=MAX_CONNECTIONS,
        limit_per_host=MAX_CONNECTIONS_PER_HOST,
    )
    try:
        async with _session(connector) as session:
            yield GuardedHttp(session, rules)
    finally:
        # Waiting for a name server would hold up the whole process.
        threads.shutdown(wait=False, cancel_futures=True)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """A session that takes nothing from the environment and keeps nothing."""
    return aiohttp.ClientSession(
        connector=connector,
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )


# -- names and sockets -------------------------------------------------------------------------------------------------


class SystemResolver:
    """The resolver of the operating system."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def addresses(self, host: str) -> Sequence[str]:
        ask = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            infos = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except UnicodeError as error:
            raise OSError("not a name") from error
        return [str(sockaddr[0]) for *_, sockaddr in infos]


class _CheckingResolver(AbstractResolver):
    """Gives the connector addresses, all of which were checked: it connects to these and asks nobody again.

    One that may not be called refuses the name: it is a mistake or an attack, and the outcome must not depend on
    the order of the answers.
    """

    def __init__(self, resolver: Resolver, rules: AddressRules) -> None:
        self._resolver = resolver
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._resolver.addresses(host)))
        if not addresses:
            raise OSError("no address")
        for address in addresses:
            self._rules.check(address)
        return [_resolved(host, address, port) for address in addresses]

    async def close(self) -> None:
        """Nothing is kept open."""


def _resolved(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)


def _socket(rules: AddressRules, info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for the connection that is made next, to this very address: the last check, and that of URLs without
    a name."""
    family, kind, proto, _, address = info
    rules.check(str(address[0]))
    return socket.socket(family, kind, proto)


# -- endings -----------------------------------------------------------------------------------------------------------


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the client as failures."""
    try:
        yield
    except aiohttp.InvalidURL:
        raise not_allowed("It is not a URL.") from None
    except (aiohttp.ClientError, OSError) as error:
        # Its text would tell a stranger what a name resolves to.
        raise ProviderDown(f"The address did not answer properly: {type(error).__name__}.") from error


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            yield
    except TimeoutError:
        if clock.expired():
            raise ProviderDown(f"The address did not answer within {seconds:g} s.") from None
        raise


def _check_status(answer: Answer) -> None:
    if 200 <= answer.status < 300:
        return
    message = f"The address answered with status {answer.status}."
    if answer.status >= 500 or answer.status in TRANSIENT:
        raise ProviderDown(message, status=answer.status, retry_after=retry_after(answer.headers))
    raise Refused(400, message, "url_not_fetched", details={"provider_status": answer.status})


async def _write(answer: Answer, file: File, max_bytes: int) -> int:
    """Off the event loop, in pieces worth a change of threads."""
    size, waiting = 0, bytearray()
    async for chunk in answer.chunks(max_bytes):
        size += len(chunk)
        waiting += chunk
        if len(waiting) >= WRITE_BYTES:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    if waiting:
        await asyncio.to_thread(file.write, bytes(waiting))
    return size


def too_large(max_bytes: int) -> Refused:
    """The refusal of an answer that is larger than the caller takes."""
    return Refused(413, f"The response is larger than {max_bytes} bytes.", "response_too_large")

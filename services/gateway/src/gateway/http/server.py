"""The HTTP server: bounded connections, and the one error shape for what never reaches a handler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError

from common.failures import Refused
from gateway.http import errors
from gateway.http.body import UNREADABLE
from gateway.http.boundary import choose_request_id, describe
from gateway.http.connections import Connection, ConnectionBounds, Connections

BAD_HTTP = "The request is not valid HTTP, or its headers are too large."
# How long what follows a refused body is still received, so that its sender gets to see the refusal.
LINGER_SECONDS = 2.0
CONTINUE = "100-continue"
# Of a body that nobody reads yet about four times as much is in memory, unpacked: a large one may have to wait for its
# place, and many connections may have one.
READ_BYTES = 64 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Runner(web.AppRunner):
    """An `AppRunner` whose connections are bounded and answer malformed HTTP in the one error shape."""

    __slots__ = ("_opened",)

    def __init__(self, app: web.Application, *, bounds: ConnectionBounds | None = None, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._opened = Connections(bounds or ConnectionBounds())

    @property
    def opened(self) -> Connections:
        """The connections that are open now."""
        return self._opened

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        self._opened.start()
        bounds = self._opened.bounds
        return _Server(
            _in_one_shape(made.request_handler),
            opened=self._opened,
            request_factory=made.request_factory,
            **{
                "lingering_time": LINGER_SECONDS,
                "read_bufsize": READ_BYTES,
                # Ours comes first: the framework's own closes what is on its way too.
                "keepalive_timeout": bounds.idle_seconds + bounds.head_seconds + 2.0,
                **self._kwargs,
            },
        )

    async def _cleanup_server(self) -> None:
        self._opened.close()
        await super()._cleanup_server()


class _Server(web.Server):
    def __init__(self, handler: Any, *, opened: Connections, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self.opened = opened

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, self.opened, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    """One connection: it keeps its deadlines, and answers what never reaches a route in the one shape too."""

    __slots__ = ("_connection", "_deaf", "_opened")

    def __init__(self, manager: web.Server, opened: Connections, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._opened = opened
        self._connection: Connection | None = None
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        connection = Connection(stream, self._loop.time())
        refused = self._opened.admit(connection)
        if refused is not None:
            self._force_close = True
            stream.write(errors.plain_answer(refused))
            stream.close()
            return
        self._connection = connection
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._connection is not None:
            self._opened.lost(self._connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        connection = self._connection
        if connection is not None and not connection.head_since and self._begins_head(connection):
            connection.head_since = self._loop.time()
        super().data_received(data)

    def _begins_head(self, connection: Connection) -> bool:
        """Whether what arrives now is the next head: behind a body that is not whole it is the rest of that."""
        if self._waiter is not None or not connection.served:
            return True
        current = self._current_request
        return current is None or current.content.is_eof()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.unread_since = 0.0
        super().resume_writing()

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Any
    ) -> tuple[web.StreamResponse, bool]:
        connection = self._connection
        if connection is None:
            return await super()._handle_request(request, start_time, request_handler)
        self._opened.serving(connection)
        try:
            response, reset = await super()._handle_request(request, start_time, request_handler)
        finally:
            self._opened.waiting(connection, self._loop.time())
        if not (reset or response.keep_alive or request.content.is_eof()):
            await self._linger()
        return response, reset

    async def _linger(self) -> None:
        """Let an answer arrive whose request is not read to its end: throw away what comes, packed as it is.

        To close a connection upon unread bytes resets it, and the answer is lost. The framework would unpack them.
        """
        self._deaf, self._lingering_time = True, 0.0
        if self.transport is not None:
            with suppress(OSError, NotImplementedError, RuntimeError):
                self.transport.write_eof()
            self._resume_transport_reading()
            # Cancelled once the client hangs up, which it does as soon as it has seen the answer and its end.
            await asyncio.sleep(LINGER_SECONDS)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Skip what the server meets again when it reads on behind a body that was refused as unreadable."""
        if not isinstance(kw.get("exc_info"), UNREADABLE):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.transport is None:
            raise ConnectionResetError("the caller left")
        refused = _unread(status, exc)
        if status >= 500:
            # Logs the error, and raises ConnectionError where an answer has begun.
            super().handle_error(request, status, exc, message)
            refused = errors.internal()
        return _last_answer(refused)


def _last_answer(refused: Refused) -> web.Response:
    """The answer to what never reached the application; nothing follows it on its connection."""
    response = errors.response_to(refused)
    response.headers["x-request-id"] = choose_request_id(None)
    # The default would name the runtime and its version.
    response.headers[hdrs.SERVER] = "sonant"
    response.force_close()
    return response


def _unread(status: int, why: BaseException | None) -> Refused:
    """What to say of a request the parser gave up on."""
    if isinstance(why, ContentEncodingError):
        return Refused(415, "This Content-Encoding is not supported; use gzip.", "unsupported_encoding")
    return Refused(status, BAD_HTTP, "bad_http")


def _in_one_shape(handle: Any) -> Handler:
    """The application, with the one error shape for what the framework refuses before any middleware runs."""

    async def answer(request: web.Request) -> web.StreamResponse:
        # Looked at before routing: the framework quotes the header, and what cannot be written is a bug of its own.
        expectation = request.headers.get(hdrs.EXPECT)
        if expectation is not None and expectation.lower() != CONTINUE:
            return _last_answer(_unmet())
        try:
            response: web.StreamResponse = await handle(request)
        except web.HTTPException as error:
            if error.status < 400 or request.writer.output_size > 0:
                raise
            return _last_answer(describe(error, request))
        return response

    return answer


def _unmet() -> Refused:
    return Refused(417, "The only expectation met is 100-continue.", "expectation_failed")


async def expect(request: web.Request) -> web.StreamResponse | None:
    """The `Expect` header of a request: `100-continue` is granted, anything else refused with 417."""
    if request.headers.get(hdrs.EXPECT, "").lower() != CONTINUE:
        return errors.response_to(_unmet())
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What follows is the answer; only its bytes count as one.
    request.writer.output_size = 0
    return None

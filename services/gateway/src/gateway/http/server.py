"""The HTTP server: malformed HTTP and refused expectations are answered in the one error shape too."""

from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError

from common.failures import Refused
from gateway.http import errors
from gateway.http.body import UNREADABLE
from gateway.http.boundary import choose_request_id

BAD_HTTP = "The request is not valid HTTP, or its headers are too large."
# How long a refused body is still read, so that its sender gets to see the refusal.
LINGER_SECONDS = 2.0


class Runner(web.AppRunner):
    """An `AppRunner` whose connections answer malformed HTTP in the one error shape."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            **{"lingering_time": LINGER_SECONDS, **self._kwargs},
        )


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    """Answers what never reaches a route (malformed HTTP, oversized headers) in the one shape too."""

    __slots__ = ()

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


async def expect(request: web.Request) -> web.StreamResponse | None:
    """The `Expect` header of a request: `100-continue` is granted, anything else refused with 417."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        refused = Refused(417, "The only expectation met is 100-continue.", "expectation_failed")
        return errors.response_to(refused)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What follows is the answer; only its bytes count as one.
    request.writer.output_size = 0
    return None

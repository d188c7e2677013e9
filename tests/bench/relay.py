"""A bare relay: forwards the bytes of a chat request and the bytes of its answer, and keeps nothing.

It stands for the least that a server between client and model costs in Python: one process with the HTTP server, the
HTTP client and the event loop of our services. Prints its port once it listens.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)
PATH = "/v1/chat/completions"
# The other headers of a request and of an answer belong to one connection, or are set anew on the next.
PASSED = ("Authorization", "Content-Type", "Content-Encoding", "Cache-Control")
# Two hundred clients connect at once; the gateway has the same.
BACKLOG = 1024
# Seconds for streams under way when it is ended; the bench ends it when none is left.
DRAIN_SECONDS = 1.0


async def forward(request: web.Request) -> web.StreamResponse:
    """Ask the upstream the same and pass on what it says, as it comes."""
    session, url = request.app[SESSION], request.app[UPSTREAM] + PATH
    async with session.post(url, data=await request.read(), headers=passed(request)) as answer:
        response = web.StreamResponse(status=answer.status, headers=passed(answer))
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
    return response


def passed(message: web.Request | aiohttp.ClientResponse) -> dict[str, str]:
    """The headers that go on to the next connection."""
    return {name: message.headers[name] for name in PASSED if name in message.headers}


async def keep_session(app: web.Application) -> AsyncIterator[None]:
    """A client without a bound on connections, on time or on what is compressed."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        app[SESSION] = session
        yield


def build_app(upstream: str) -> web.Application:
    """The relay in front of `upstream`, an origin."""
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(keep_session)
    app.router.add_post(PATH, forward)
    return app


async def serve(port: int, upstream: str) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    # A client that hangs up ends the call to the upstream too, as with our gateway.
    app = build_app(upstream)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG).start()
        print(runner.addresses[0][1], flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Command line: `python -m tests.bench.relay --port 9101 --upstream http://127.0.0.1:9100`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed")
    parser.add_argument("--upstream", required=True, help="origin of the server to ask, without a path")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.upstream.rstrip("/")))


if __name__ == "__main__":
    main()

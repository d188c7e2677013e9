"""The probes of readiness, over the loopback."""

import asyncio

HOST = "127.0.0.1"
PROBE_TIMEOUT = 2.0


async def http_ready(url: str) -> str:
    """Why `GET url` does not answer 200; empty when it does."""
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    request = f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    try:
        answer = await exchange(host, int(port), request.encode())
    except (OSError, TimeoutError):
        return f"no answer from {url}"
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    return "" if status == ["200"] else f"{url} answers {' '.join(status)}: {body.strip()[:300]}"


async def exchange(host: str, port: int, request: bytes) -> bytes:
    """Send `request` on a new connection and read until the other side closes it.

    Raises:
        OSError: no connection. TimeoutError: no complete answer within two seconds.
    """
    async with asyncio.timeout(PROBE_TIMEOUT):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()

"""An upstream that says exactly these bytes, and a port behind which nobody answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson


class Scripted:
    """An upstream that answers every connection's requests from a list of scripts, one after the other."""

    def __init__(self, scripts: Sequence[Sequence[bytes | float]]) -> None:
        self._scripts = list(scripts)
        self.url = ""
        self.connections = 0
        self.requests: list[dict[str, Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (script := await self._asked(reader)) is not None:
                for step in script:
                    await self._take(step, writer)
                if b"content-length" not in _head(script) and b"chunked" not in _head(script):
                    # Only its end tells where such an answer ends.
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the service has left
        finally:
            writer.close()

    async def _take(self, step: bytes | float, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        else:
            await asyncio.sleep(step)

    async def _asked(self, reader: asyncio.StreamReader) -> Sequence[bytes | float] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        self.requests.append(orjson.loads(await reader.readexactly(length)))
        return self._scripts.pop(0) if self._scripts else None


def _head(script: Sequence[bytes | float]) -> bytes:
    return script[0] if isinstance(script[0], bytes) else b""


@asynccontextmanager
async def scripted(*scripts: Sequence[bytes | float]) -> AsyncIterator[Scripted]:
    """Serve scripts of bytes and pauses (seconds); where they are used up the connection is closed."""
    upstream = Scripted(scripts)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield upstream


def sse(*payloads: dict[str, Any] | bytes) -> bytes:
    """A whole streamed answer of an upstream: its head and these messages."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return head + messages(*payloads)


def messages(*payloads: dict[str, Any] | bytes) -> bytes:
    """Server-sent events with these data."""
    parts = [payload if isinstance(payload, bytes) else orjson.dumps(payload) for payload in payloads]
    return b"".join(b"data: " + part + b"\n\n" for part in parts)


def chunk(content: str | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    """A chunk of a streamed answer."""
    said = delta if content is None else {"content": content, **delta}
    choice = {"index": index, "delta": said, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}


@contextmanager
def blocked_port() -> Iterator[int]:
    """A port whose connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for filler in fillers:
                filler.close()

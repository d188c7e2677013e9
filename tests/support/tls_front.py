"""TLS before a server that speaks none itself: what is wrapped is passed on as it comes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

CHUNK = 65536


@dataclass(frozen=True)
class Front:
    """Where it listens (`localhost`), and the file of the authority that signed its certificate."""

    port: int
    authority: Path


@asynccontextmanager
async def tls_front(port: int, directory: Path) -> AsyncIterator[Front]:
    """TLS on a port of its own before 127.0.0.1:`port`."""
    authority, path = trustme.CA(), directory / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, behind_writer), (behind_reader, writer)):
            task = asyncio.create_task(_pass_on(*pair))
            open_tasks.add(task)
            task.add_done_callback(open_tasks.discard)

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    try:
        yield Front(server.sockets[0].getsockname()[1], path)
    finally:
        server.close()
        for task in list(open_tasks):
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()

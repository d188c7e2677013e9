"""A relay in front of an engine that swallows what is sent, where a hung engine would still carry it out later."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

READ_BYTES = 65_536


class SwallowingRelay:
    """`url` leads to the engine; within `swallowing` nothing that is sent arrives there."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._parts = parts
        self._swallows = False
        self.url = ""

    def listens_on(self, port: int) -> None:
        """Where the relay is found."""
        login = self._parts.netloc.rpartition("@")[0]
        self.url = self._parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Drop what comes from clients while the block runs; what was dropped is gone."""
        self._swallows = True
        try:
            yield
        finally:
            self._swallows = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        from_engine, to_engine = await asyncio.open_connection(self._host, self._port)
        ways = [
            asyncio.create_task(self._pass_on(reader, to_engine, swallowed=True)),
            asyncio.create_task(self._pass_on(from_engine, writer, swallowed=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            to_engine.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, swallowed: bool) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                if not (swallowed and self._swallows):
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            return


@asynccontextmanager
async def swallowing_relay(url: str) -> AsyncIterator[SwallowingRelay]:
    """A relay that listens on loopback."""
    relay = SwallowingRelay(url)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.listens_on(server.sockets[0].getsockname()[1])
    try:
        yield relay
    finally:
        server.close()

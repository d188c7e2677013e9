"""Large bodies on their way to a gateway: kept in pieces in the live store, over a connection without frames."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.bus.port import BusUnavailableError
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp, open_resp

PREFIX = "sonant:body:"
# A piece is written and read in about a millisecond, so nobody waits long behind one.
PIECE_BYTES = 256 * 1024
# The gateway fetches a body at once, and as fast as its client reads.
KEEP_SECONDS = 300


class KeptBodies:
    """Bodies by the id of their request. Raises BusUnavailableError while the live store does not answer."""

    def __init__(self, connection: Resp) -> None:
        self._connection = connection

    async def put(self, request_id: str, body: bytes) -> None:
        """Keep a body for `KEEP_SECONDS`; one that was kept for the request before is replaced."""
        key = PREFIX + request_id
        await self._run("UNLINK", key)
        for at in range(0, len(body), PIECE_BYTES):
            await self._run("RPUSH", key, body[at : at + PIECE_BYTES])
            if at == 0:
                await self._run("EXPIRE", key, KEEP_SECONDS)

    async def pieces(self, request_id: str, size: int) -> AsyncIterator[bytes]:
        """The body piece by piece. Raises BusUnavailableError where a piece is gone."""
        for index in range(-(-size // PIECE_BYTES)):
            piece = await self._run("LINDEX", PREFIX + request_id, index)
            if piece is None:
                raise BusUnavailableError("the answer was lost on the way")
            yield piece

    async def drop(self, request_id: str) -> None:
        """Forget a body that nobody needs any more."""
        await self._run("UNLINK", PREFIX + request_id)

    async def _run(self, *command: str | bytes | int) -> bytes | None:
        try:
            reply: bytes | None = await self._connection.execute(*command)
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the live store does not answer: {error}") from error
        return reply


@asynccontextmanager
async def open_kept_bodies(url: str) -> AsyncIterator[KeptBodies]:
    """The kept bodies of a live store, over a connection of their own."""
    async with open_resp(url) as connection:
        yield KeptBodies(connection)

"""Large bodies beside the frames: whole, in pieces, or visibly gone."""

import os

import pytest

from common.bus.live.kept_bodies import KEEP_SECONDS, PIECE_BYTES, PREFIX, KeptBodies, open_kept_bodies
from common.bus.port import BusUnavailableError
from common.storage.redis import open_redis


async def whole(bodies: KeptBodies, request_id: str, size: int) -> bytes:
    return b"".join([piece async for piece in bodies.pieces(request_id, size)])


@pytest.mark.parametrize("size", [1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES - 7])
async def test_a_body_comes_back_byte_for_byte_and_can_be_dropped(valkey_url: str, size: int) -> None:
    body = os.urandom(size)
    async with open_kept_bodies(valkey_url) as bodies:
        await bodies.put("body-1", body)
        assert await whole(bodies, "body-1", size) == body
        await bodies.drop("body-1")
        with pytest.raises(BusUnavailableError):
            await whole(bodies, "body-1", size)


async def test_a_body_that_is_put_again_replaces_the_first(valkey_url: str) -> None:
    async with open_kept_bodies(valkey_url) as bodies:
        await bodies.put("body-2", os.urandom(3 * PIECE_BYTES))
        await bodies.put("body-2", b"second")
        assert await whole(bodies, "body-2", 6) == b"second"
        await bodies.drop("body-2")


async def test_a_body_nobody_fetches_ends_by_itself_and_a_lost_piece_is_noticed(valkey_url: str) -> None:
    async with open_kept_bodies(valkey_url) as bodies, open_redis(valkey_url) as redis:
        await bodies.put("body-3", bytes(2 * PIECE_BYTES))
        assert 0 < await redis.ttl(PREFIX + "body-3") <= KEEP_SECONDS
        await redis.rpop(PREFIX + "body-3")
        pieces = bodies.pieces("body-3", 2 * PIECE_BYTES)
        assert await anext(pieces) == bytes(PIECE_BYTES)
        with pytest.raises(BusUnavailableError):
            await anext(pieces)
        await bodies.drop("body-3")


async def test_an_engine_that_is_away_is_told() -> None:
    async with open_kept_bodies("redis://127.0.0.1:1") as bodies:
        with pytest.raises(BusUnavailableError):
            await bodies.put("body-4", b"any")

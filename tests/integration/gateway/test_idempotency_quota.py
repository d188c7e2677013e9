"""What is kept of idempotent answers has a quota per API key: the oldest give way."""

import secrets

from redis.asyncio import Redis

from gateway.adapters.redis_idempotency import PREFIX, RedisIdempotency

DAY = 24 * 3600


async def answered(store: RedisIdempotency, owner: str, name: str, size: int) -> int:
    mark = b"R" + secrets.token_bytes(48)
    assert await store.take(name, mark, 30) is None
    return await store.keep(name, owner, mark, b"D" + b"x" * (size - 1), DAY)


def names(count: int) -> list[str]:
    return [secrets.token_hex(32) for _ in range(count)]


async def test_by_count(redis: Redis) -> None:
    store, owner = RedisIdempotency(redis, answers=5), secrets.token_hex(8)
    given = names(8)
    dropped = [await answered(store, owner, name, 100) for name in given]
    assert dropped == [0] * 5 + [1] * 3
    there = [await redis.exists(PREFIX + name) for name in given]
    assert there == [0] * 3 + [1] * 5


async def test_by_bytes_and_the_newest_always_stays(redis: Redis) -> None:
    store, owner = RedisIdempotency(redis, max_bytes=10_000), secrets.token_hex(8)
    given = names(6)
    for name in given[:5]:
        await answered(store, owner, name, 4_000)
    assert [await redis.exists(PREFIX + name) for name in given[:5]] == [0, 0, 0, 1, 1]
    assert await answered(store, owner, given[5], 50_000) == 2
    assert [await redis.exists(PREFIX + name) for name in given] == [0] * 5 + [1]


async def test_one_keys_answers_push_out_no_others(redis: Redis) -> None:
    store, owner, other = RedisIdempotency(redis, answers=2), secrets.token_hex(8), secrets.token_hex(8)
    [kept, *given] = names(6)
    await answered(store, other, kept, 100)
    for name in given:
        await answered(store, owner, name, 100)
    assert await redis.exists(PREFIX + kept)
    found = await store.take(kept, b"R", 30)
    assert found is not None
    assert found.startswith(b"D")

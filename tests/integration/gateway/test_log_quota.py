"""Bytes that one organisation may put on the log in a minute, over several gateways on a real engine."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from common.failures import Refused
from common.storage.resp import Resp, open_resp
from gateway.adapters.redis_quota import RedisQuota
from gateway.http.log_quota import LogQuota
from sonant_cli.engines import valkey
from tests.support.engines import running

MIB = 1024 * 1024


@pytest.fixture
async def resp(valkey_url: str) -> AsyncIterator[Resp]:
    async with open_resp(valkey_url) as connection:
        yield connection


@pytest.fixture
def org() -> str:
    return f"org-{secrets.token_hex(8)}"


async def until_refused(quota: LogQuota, org: str, size: int) -> tuple[int, Refused]:
    """How many requests passed, and what the next one was told."""
    for passed in range(1000):
        try:
            await quota.take(org, size)
        except Refused as refused:
            return passed, refused
    raise AssertionError("nothing was refused")


async def test_past_its_quota_an_organisation_is_told_when_to_come_back_and_others_go_on(resp: Resp, org: str) -> None:
    quota = LogQuota(RedisQuota(resp), 64 * MIB)
    passed, refused = await until_refused(quota, org, 4 * MIB)
    assert 15 <= passed <= 17
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    with pytest.raises(Refused):
        quota.check(org)
    quota.check("others")
    await quota.take(f"{org}-other", 4 * MIB)


async def test_gateways_share_one_quota(resp: Resp, org: str) -> None:
    quotas = [LogQuota(RedisQuota(resp), 16 * MIB) for _ in range(3)]
    passed = await asyncio.gather(*(until_refused(quota, org, MIB) for quota in quotas))
    # What refills meanwhile, and at most a portion of each that is not spent.
    assert 13 <= sum(count for count, _ in passed) <= 18


async def test_small_requests_are_counted_without_a_trip_each(resp: Resp, org: str) -> None:
    asked: list[int] = []

    class Counting(RedisQuota):
        async def grant(self, org_id: str, capacity: int, least: int, most: int) -> tuple[int, int]:
            asked.append(least)
            return await super().grant(org_id, capacity, least, most)

    quota = LogQuota(Counting(resp), 256 * MIB)
    for _ in range(500):
        await quota.take(org, 2000)
    assert len(asked) == 1


async def test_a_request_larger_than_the_quota_passes_once(resp: Resp, org: str) -> None:
    quota = LogQuota(RedisQuota(resp), MIB)
    await quota.take(org, 3 * MIB)
    with pytest.raises(Refused) as refused:
        await quota.take(org, 1000)
    assert int(refused.value.headers["retry-after"]) > 60


async def test_a_quota_of_nothing_is_none(resp: Resp, org: str) -> None:
    quota = LogQuota(RedisQuota(resp), 0)
    for _ in range(100):
        await quota.take(org, 8 * MIB)


async def test_while_the_store_is_away_nobody_is_let_through(org: str) -> None:
    async with running(valkey) as engine, open_resp(engine.url) as resp:
        quota = LogQuota(RedisQuota(resp), MIB)
        await engine.stop()
        with pytest.raises(Refused) as refused:
            await quota.take(org, 1000)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")

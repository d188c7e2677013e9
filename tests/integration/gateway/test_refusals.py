"""Refusals of a flood: paced, cheap for the gateway, and never in the way of a caller within its limits."""

import asyncio
import gzip
import io
import json
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import httpx
import psutil
import pytest
from aiohttp.test_utils import make_mocked_request

from common.failures import Refused
from common.storage.resp import open_resp
from gateway.adapters.redis_limits import RedisLimits
from gateway.http.context import CALLER
from gateway.http.errors import rate_limited, unavailable
from gateway.http.limits import Limits
from gateway.http.refusal_pacing import AT_ONCE, MAX_PAUSE_SECONDS, RefusalPacing
from gateway.ports import Bucket, Caller, KeyLimits
from tests.support.engines import new_database
from tests.support.gateway import Gateway, gateway_process

MIB = 1024 * 1024
CHAT = "/v1/chat/completions"
SMALL = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
LARGE = json.dumps({"messages": [{"role": "user", "content": "a" * (4 * MIB - 4096)}]}).encode()
LANES = 100
FLOOD_SECONDS = 2.0
PACE = 20.0


@pytest.fixture(scope="module")
async def gateway(valkey_url: str, postgres_url: str) -> AsyncIterator[Gateway]:
    pace = {"SONANT_REFUSALS_PER_SECOND": str(PACE)}
    async with new_database(postgres_url, "refusals") as database:
        async with gateway_process(valkey_url, database, env=pace) as running:
            yield running


async def new_key(gateway: Gateway, organization: str, **limits: int) -> str:
    body = {"name": "k", "organization": organization, "limits": limits}
    async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.headers, timeout=20) as admin:
        return str((await admin.post("/v1/admin/keys", json=body)).json()["key"])


async def flood(gateway: Gateway, key: str, lanes: int, send: Callable[[aiohttp.ClientSession], Awaitable[int]]) -> int:
    """How many answers of 429 so many lanes got that come back at once."""
    refused, until = 0, time.monotonic() + FLOOD_SECONDS
    headers = {"authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(gateway.url, headers=headers, connector=connector) as session:

        async def lane() -> None:
            nonlocal refused
            while time.monotonic() < until:
                status = await send(session)
                refused += status == 429

        lanes_running = [asyncio.create_task(lane()) for _ in range(lanes)]
        await asyncio.wait(lanes_running, timeout=FLOOD_SECONDS + MAX_PAUSE_SECONDS + 1)
        for task in lanes_running:
            task.cancel()
        await asyncio.gather(*lanes_running, return_exceptions=True)
    return refused


async def send_small(session: aiohttp.ClientSession) -> int:
    async with session.post(CHAT, data=SMALL) as answer:
        await answer.read()
        return answer.status


async def test_refusals_of_a_flood_are_paced_and_cost_others_nothing(gateway: Gateway) -> None:
    key = await new_key(gateway, "flood", requests_per_minute=1)
    other = await new_key(gateway, "other")
    flooding = asyncio.create_task(flood(gateway, key, LANES, send_small))
    took = []
    async with httpx.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {other}"}) as client:
        while not flooding.done():
            started = time.perf_counter()
            # The limit of a key that has heeded it holds no one else up, and a 404 is no refusal for too much.
            assert (await client.get("/v1/chat/completions/none/stream")).status_code == 404
            took.append(time.perf_counter() - started)
            await asyncio.sleep(0.05)
    refused = await flooding
    print(f"{refused} refusals in {FLOOD_SECONDS:.0f} s; others' median {statistics.median(took) * 1000:.1f} ms")
    # A lane that was told so at the end of the time was held for the longest pause.
    assert AT_ONCE < refused <= AT_ONCE + PACE * (FLOOD_SECONDS + MAX_PAUSE_SECONDS) + LANES


async def test_the_first_refusals_leave_at_once(gateway: Gateway) -> None:
    key = await new_key(gateway, "few", requests_per_minute=1)
    async with aiohttp.ClientSession(gateway.url, headers={"authorization": f"Bearer {key}"}) as session:
        await send_small(session)
        started = time.perf_counter()
        for _ in range(AT_ONCE // 2):
            assert await send_small(session) == 429
        assert time.perf_counter() - started < 2.0


def test_who_heeds_its_refusals_is_never_held_back() -> None:
    pacing, now = RefusalPacing(PACE), 1000.0
    for _ in range(1000):
        now += 1 / PACE
        assert pacing.pause("heeds", now) == 0.0


def test_who_does_not_waits_ever_longer_up_to_a_bound_and_is_forgiven() -> None:
    pacing, now = RefusalPacing(PACE), 1000.0
    pauses = [pacing.pause("floods", now) for _ in range(1000)]
    assert pauses[:AT_ONCE] == [0.0] * AT_ONCE
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_SECONDS
    assert pacing.pause("others", now) == 0.0
    assert pacing.pause("floods", now + MAX_PAUSE_SECONDS + AT_ONCE / PACE + 0.1) == 0.0


@pytest.mark.parametrize(
    ("refused", "held"),
    [
        (rate_limited("of a key", retry=1.0), True),
        (rate_limited("of a key", type="tokens", retry=1.0), True),
        (rate_limited("of a budget", type="insufficient_quota", retry=None), True),
        (Refused(503, "no place", "busy", type="server_error"), True),
        (Refused(429, "of a provider", "rate_limit_exceeded", type="rate_limit_error"), False),
        (unavailable(), False),
        (Refused(400, "wrong"), False),
    ],
    ids=["requests", "tokens", "budget", "busy", "of a provider", "away", "wrong"],
)
async def test_only_refusals_for_too_much_are_held(refused: Refused, held: bool) -> None:
    pacing, request = RefusalPacing(1000.0), make_mocked_request("POST", "/")
    request[CALLER] = Caller("acme", "key", frozenset({"chat"}))
    for _ in range(1000):
        pacing.pause("acme", time.monotonic())
    started = time.perf_counter()
    await pacing.hold(request, refused)
    assert (time.perf_counter() - started > 0.3) is held


def test_organisations_that_heed_their_refusals_are_forgotten() -> None:
    pacing = RefusalPacing(PACE)
    for number in range(20_000):
        pacing.pause(f"org-{number}", 1000.0 + number)
    assert len(pacing._due) <= 1000


def test_a_pace_of_nought_holds_nothing_back() -> None:
    pacing = RefusalPacing(0)
    assert {pacing.pause("floods", 1000.0) for _ in range(1000)} == {0.0}


class Counted:
    """The store of the limits, and how often it was asked."""

    def __init__(self, store: RedisLimits) -> None:
        self._store = store
        self.asked = 0

    async def count(self, caller: Caller) -> Bucket:
        self.asked += 1
        return await self._store.count(caller)


async def test_a_refusal_of_a_key_is_repeated_without_asking_until_a_request_may_be_there(valkey_url: str) -> None:
    who = Caller("acme", secrets.token_hex(6), frozenset({"chat"}), KeyLimits(120, None, None))
    async with open_resp(valkey_url) as connection:
        store = Counted(RedisLimits(connection))
        limits = Limits(store)  # type: ignore[arg-type]
        for _ in range(120):
            await limits.count(who)
        waits = []
        for _ in range(50):
            with pytest.raises(Refused) as refused:
                await limits.count(who)
            waits.append(int(refused.value.headers["retry-after-ms"]))
        assert waits == sorted(waits, reverse=True)
        assert store.asked < 125
        # One flows in every half a second.
        await asyncio.sleep(waits[-1] / 1000 + 0.05)
        await limits.count(who)


@pytest.fixture(scope="module")
async def unpaced(valkey_url: str, postgres_url: str) -> AsyncIterator[Gateway]:
    settings = {"SONANT_REFUSALS_PER_SECOND": "0", "SONANT_LOG_BYTES_PER_MINUTE": str(8 * MIB)}
    async with new_database(postgres_url, "unpaced") as database:
        async with gateway_process(valkey_url, database, env=settings) as running:
            yield running


async def test_a_refused_body_is_not_unpacked_and_its_sender_sees_why(unpaced: Gateway) -> None:
    key = await new_key(unpaced, "packed", requests_per_minute=1)
    packed = gzip.compress(LARGE)
    headers = {"authorization": f"Bearer {key}", "content-encoding": "gzip"}
    async with aiohttp.ClientSession(unpaced.url, headers=headers) as session:

        async def refused() -> None:
            async with session.post(CHAT, data=packed) as answer:
                assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"
                assert answer.status == 429

        async with session.post(CHAT, data=packed) as first:
            await first.read()
        process = psutil.Process(unpaced.pid)
        before = process.cpu_times().user
        for _ in range(100):
            await refused()
        took = process.cpu_times().user - before
    print(f"100 refusals: {took:.2f} s of CPU")
    # To unpack 100 times 4 MiB takes a second.
    assert took < 0.5


async def test_a_large_body_is_charged_for_before_it_is_parsed(unpaced: Gateway) -> None:
    key = await new_key(unpaced, "wrong")
    wrong = json.dumps({"messages": [1] * (MIB // 3)}).encode()
    statuses = []
    async with aiohttp.ClientSession(unpaced.url, headers={"authorization": f"Bearer {key}"}) as session:
        for _ in range(20):
            async with session.post(CHAT, data=io.BytesIO(wrong)) as answer:
                await answer.read()
                statuses.append(answer.status)
    passed = statuses.count(400)
    assert statuses == [400] * passed + [429] * (20 - passed)
    assert 7 <= passed <= 9


async def test_the_sender_of_a_large_body_sees_its_refusal(unpaced: Gateway) -> None:
    key = await new_key(unpaced, "large", requests_per_minute=1)
    async with aiohttp.ClientSession(unpaced.url, headers={"authorization": f"Bearer {key}"}) as session:
        statuses = []
        for _ in range(20):
            async with session.post(CHAT, data=io.BytesIO(LARGE)) as answer:
                await answer.read()
                statuses.append(answer.status)
    assert set(statuses[1:]) == {429}

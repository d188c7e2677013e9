"""Many readers at once of what no cache has: how often it is asked for, and how long the slowest of them waits."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from common.clients.resources.entries import scope_keys
from common.storage.resp import open_resp
from tests.bench.interrupt import Caller
from tests.bench.load import percentile
from tests.bench.site import ACTIVE, PROJECT, USER, Site
from tests.bench.system import counted

HANDLED = "sonant_events_handled_total"
PROVIDER_CALLS = "sonant_api_calls_total"
PROVIDER_KEY = "bench-key"
# A listening socket's queue holds 128; connections are opened before the clock starts.
AT_ONCE = 50
ROUND_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Stampede:
    """Of several rounds the most calls and the slowest reader (ms); `of` says what the calls were."""

    what: str
    of: str
    readers: int
    rounds: int
    calls: int
    p50: float
    slowest: float
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)


async def on_a_set(site: Site, readers: int, rounds: int) -> Stampede:
    """The active set after its places were evicted; counts what the service resources was asked."""

    async def evicted() -> str:
        async with open_resp(site.redis_url) as cache:
            await cache.execute("DEL", *scope_keys(site.organization, PROJECT, USER))
        return ACTIVE

    def asked() -> float:
        return counted(site.ops("resources"), HANDLED, 'event="active.resolve.requested"')

    return await _measured(site, ("active set, evicted", "questions to resources"), readers, rounds, evicted, asked)


async def on_a_version(site: Site, provider_url: str, readers: int, rounds: int) -> Stampede:
    """A prompt that only the provider has; counts the calls the provider sees."""

    async def made() -> str:
        return f"/api/hume/prompts?id={await asyncio.to_thread(_made_at, provider_url)}&version=0"

    def called() -> float:
        return counted(site.ops("resources"), PROVIDER_CALLS)

    what = ("version, at the provider only", "calls to the provider")
    return await _measured(site, what, readers, rounds, made, called)


def _made_at(provider_url: str) -> str:
    """The id of a new prompt, made behind our back."""
    body = {"name": f"bench {uuid.uuid4().hex}", "text": "Greet the caller."}
    answer = httpx.post(f"{provider_url}/v0/evi/prompts", json=body, headers={"X-Hume-Api-Key": PROVIDER_KEY})
    return str(answer.raise_for_status().json()["id"])


async def _measured(
    site: Site,
    what: tuple[str, str],
    readers: int,
    rounds: int,
    prepared: Callable[[], Awaitable[str]],
    calls: Callable[[], float],
) -> Stampede:
    """`prepared` makes the path to read cold; `calls` is the counter of `what`, its second part."""
    most, took, reasons = 0, list[float](), Counter[str]()
    for _ in range(rounds):
        request = site.reading(await prepared())
        before = calls()
        took += await _round(site, request, readers, reasons)
        most = max(most, int(calls() - before))
    spread = (percentile(took, 0.5), max(took, default=float("nan")))
    return Stampede(*what, readers, rounds, most, *spread, reasons.total(), dict(reasons.most_common(5)))


async def _round(site: Site, request: bytes, readers: int, reasons: Counter[str]) -> list[float]:
    """How long each reader waited (ms), with all of them at once."""
    async with AsyncExitStack() as stack:
        callers: list[Caller] = []
        while len(callers) < readers:
            more = range(min(AT_ONCE, readers - len(callers)))
            opening = [stack.enter_async_context(Caller.open(site.target.url)) for _ in more]
            callers += await asyncio.gather(*opening)
        return [ms for ms in await _all(callers, request, reasons) if ms is not None]


async def _all(callers: Sequence[Caller], request: bytes, reasons: Counter[str]) -> list[float | None]:
    async def one(caller: Caller) -> float | None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                head, body = await caller.send(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            reasons[f"a reader of the stampede: {type(error).__name__} {error}"] += 1
            return None
        if head.startswith(b"HTTP/1.1 200"):
            return (time.perf_counter() - began) * 1000
        reasons[f"a reader of the stampede: {head[9:12].decode()} {body[:120].decode()}"] += 1
        return None

    return await asyncio.gather(*map(one, callers))

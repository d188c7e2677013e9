"""From a switch until the last replica serves the new set.

Every replica is watched from outside: a gateway by `GET /v1/active` on a kept connection, an llm-stream by chat turns
of a session whose partition it holds, answered by the upstream with the word that stands in the prompt of the set.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.interrupt import Caller
from tests.bench.load import CONTENT, percentile, post_request
from tests.bench.site import ACTIVE, PROJECT, USER, Site, said, told
from tests.bench.system import BenchError, Replica, counted, replica

TURNS = "sonant_chat_active_sets_total"
ETAG = re.compile(rb'\r\netag:\s*"(\d+)"', re.IGNORECASE)
# Between two looks at a gateway: short beside what is measured, long enough that watching is no load of its own.
LOOK_SECONDS = 0.002
# Between two switches: the outbox and the facts of the former one have come to rest in about as long.
PAUSES = (0.02, 0.06)
ARRIVAL_SECONDS = 10.0
# A consumer that joins takes over its partitions within the time of a rebalance.
JOIN_SECONDS = 30.0
SESSIONS = 32


@dataclass(frozen=True, slots=True)
class Way:
    """One switch: seconds from its request sent to its answer, and to the first sight of it at each replica."""

    answered: float
    seen: dict[str, float]

    @property
    def last(self) -> float:
        return max(self.seen.values())


@dataclass(frozen=True, slots=True)
class Spread:
    """How many times are distributed, in ms."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread":
        times = [second * 1000 for second in seconds]
        return cls(percentile(times, 0.5), percentile(times, 0.99), max(times, default=float("nan")))


@dataclass(frozen=True, slots=True)
class Propagation:
    """From the request of a switch to its answer; to the last replica, since the request and since the answer."""

    replicas: str
    switches: int
    answer: Spread
    since_sent: Spread
    since_answer: Spread
    each: dict[str, Spread]
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Watcher:
    """Looks at one replica until it serves a switch."""

    name: str
    serves: Callable[[int, int], Awaitable[bool]]
    pause: float

    async def sees(self, revision: int, switch: int) -> float:
        """When (on the performance counter) it was first seen to serve the switch."""
        while True:
            if await self.serves(revision, switch):
                return time.perf_counter()
            await asyncio.sleep(self.pause)


@contextmanager
def replicas(site: Site, log: str, models_file: Path) -> Iterator[dict[str, str]]:
    """A second gateway and, where partitions are shared out, a second llm-stream.

    Yields the gateways' origins and the llm-streams' ops addresses by name. On the embedded log a second llm-stream
    would stand by for the first, so there it is left out.
    """
    env = {"SONANT_MODELS_FILE": str(models_file), "SONANT_DATA_DIR": str(models_file.parent)}
    with ExitStack() as stack:

        def begin(module: str, name: str) -> Replica:
            return stack.enter_context(replica(module, name, site.data_dir, env))

        found = {"gateway-0": site.target.url, "llm-stream-0": site.ops("llm-stream")}
        found["gateway-1"] = begin("gateway", "gateway-1").url
        if log == "kafka":
            found["llm-stream-1"] = begin("llm_stream", "llm-stream-1").ops_url
        yield dict(sorted(found.items()))


async def propagation(site: Site, found: Mapping[str, str], switches: int) -> Propagation:
    """Switch again and again, watched at all replicas."""
    streams = {name: url for name, url in found.items() if name.startswith("llm-stream")}
    sessions = await _sessions(site, streams)
    reasons: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        gateways = [(name, url) for name, url in found.items() if name not in streams]
        watchers = [await stack.enter_async_context(_at_gateway(site, name, url)) for name, url in gateways]
        watchers += [await stack.enter_async_context(_at_stream(site, *pair)) for pair in sessions.items()]
        before = {name: counted(url, TURNS) for name, url in streams.items()}
        ways = [way async for way in _switched(site, watchers, switches, reasons)]
        idle = [name for name, url in streams.items() if counted(url, TURNS) - before[name] < len(ways)]
    for name in idle:
        # Its partitions moved away meanwhile, so somebody else was watched in its place.
        reasons[f"{name} answered fewer turns than there were switches"] = 1
    return _report(f"{len(gateways)} gateways, {len(streams)} llm-stream", switches, ways, reasons)


async def _switched(
    site: Site, watchers: Sequence[Watcher], switches: int, reasons: dict[str, int]
) -> AsyncIterator[Way]:
    async with Caller.open(site.target.url) as caller:
        revision = int((await told(caller, site.reading(ACTIVE)))["revision"])
        for switch in range(1, switches + 1):
            await asyncio.sleep(random.uniform(*PAUSES))
            try:
                yield await _one(site, caller, watchers, revision + switch, switch)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                reason = f"a switch did not arrive everywhere: {type(error).__name__} {error}"
                reasons[reason] = reasons.get(reason, 0) + 1
                return


async def _one(site: Site, caller: Caller, watchers: Sequence[Watcher], revision: int, switch: int) -> Way:
    sent = time.perf_counter()

    async def answered() -> float:
        await told(caller, site.switching(switch))
        return time.perf_counter()

    async with asyncio.timeout(ARRIVAL_SECONDS):
        answer, *seen = await asyncio.gather(answered(), *(watcher.sees(revision, switch) for watcher in watchers))
    at = {watcher.name: moment - sent for watcher, moment in zip(watchers, seen, strict=True)}
    return Way(answer - sent, at)


@asynccontextmanager
async def _at_gateway(site: Site, name: str, url: str) -> AsyncIterator[Watcher]:
    async with Caller.open(url) as caller:

        async def serves(revision: int, _: int) -> bool:
            head, _body = await caller.send(site.reading(ACTIVE))
            shown = ETAG.search(head)
            return shown is not None and int(shown[1]) >= revision

        yield Watcher(name, serves, LOOK_SECONDS)


@asynccontextmanager
async def _at_stream(site: Site, name: str, session: str) -> AsyncIterator[Watcher]:
    async with Caller.open(site.target.url) as caller:

        async def serves(_: int, switch: int) -> bool:
            return await _turn(site, caller, session) == said(switch)

        yield Watcher(name, serves, 0)


async def _turn(site: Site, caller: Caller, session: str) -> str:
    """What the upstream said in one turn of a session: the word of the set that was used."""
    body = {"model": site.target.model, "stream": True, "messages": [{"role": "user", "content": "Hello?"}]}
    who = {"x_user_id": USER, "x_project_id": PROJECT, "x_session_id": session}
    host = urlsplit(site.target.url).netloc
    head, answer = await caller.send(post_request(host, "/v1/chat/completions", site.key, body, **who))
    if not head.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"a chat turn was refused: {head[9:12].decode()} {answer[:300].decode()}")
    return b"".join(CONTENT.findall(answer)).decode()


async def _sessions(site: Site, streams: Mapping[str, str]) -> dict[str, str]:
    """For each llm-stream a session whose turns it answers, as soon as every one of them answers any."""
    until = time.monotonic() + JOIN_SECONDS
    found: dict[str, str] = {}
    async with Caller.open(site.target.url) as caller:
        while len(found) < len(streams):
            if time.monotonic() > until:
                raise BenchError(f"not every llm-stream answers turns: {sorted(found)} of {sorted(streams)}")
            found = await _owners(site, caller, streams)
    return found


async def _owners(site: Site, caller: Caller, streams: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number in range(SESSIONS):
        before = {name: counted(url, TURNS) for name, url in streams.items()}
        await _turn(site, caller, f"bench-{number}")
        owner = next((name for name, url in streams.items() if counted(url, TURNS) > before[name]), None)
        if owner:
            found.setdefault(owner, f"bench-{number}")
        if len(found) == len(streams):
            break
    return found


def _report(replicas: str, switches: int, ways: Sequence[Way], reasons: dict[str, int]) -> Propagation:
    names = ways[0].seen if ways else ()
    return Propagation(
        replicas=replicas,
        switches=switches,
        answer=Spread.of(way.answered for way in ways),
        since_sent=Spread.of(way.last for way in ways),
        # A replica may be seen to serve it before its writer is told.
        since_answer=Spread.of(max(0.0, way.last - way.answered) for way in ways),
        each={name: Spread.of(way.seen[name] for way in ways) for name in names},
        failed=sum(reasons.values()),
        reasons=reasons,
    )

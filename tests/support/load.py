"""A closed loop of streaming clients that says of every request how it ended, and the books that must agree with it.

Every request carries a marker of its own as session id, so that its fact can be found, and asks for a text of its
own, so that an answer is compared word for word.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
import httpx
import orjson

from tests.support.log import QUIET_SECONDS, Fact, facts, log_of, quiet
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# What the gateway may need beyond its own deadline to say that it has passed.
DEADLINE_MARGIN = 3.0
# After an error a client waits a little, so that an outage is not answered by a flood.
PAUSE_SECONDS = 0.1
# The gateway's word for "not accepted, come back": such a request must leave no fact.
NOT_ACCEPTED = "unavailable"
WORDS = 24
BACK_SECONDS = 30.0


class End(StrEnum):
    """How a request ended for its client. `WRONG` is what must never be."""

    COMPLETE = "complete"
    ERROR = "explicit error"
    CLOSED = "closed connection"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its client saw it; `begun` and `ended` are monotonic seconds."""

    marker: str
    end: End
    begun: float
    ended: float
    status: int | None = None
    code: str | None = None
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the client was told, by an answer or an error from behind the log, that its request was taken."""
        return self.status is not None and self.code != NOT_ACCEPTED

    @property
    def refused(self) -> bool:
        return self.code == NOT_ACCEPTED


@dataclass(slots=True)
class _Stream:
    """What has arrived of one answer."""

    text: str = ""
    number: int = 1
    finish: str | None = None
    error: dict[str, Any] | None = None
    done: bool = False
    disorder: str = ""

    def take(self, line: bytes) -> None:
        if line.startswith(b"id: "):
            self._number(int(line[4:]))
        elif line.startswith(b"data: "):
            self._data(line[6:].strip())

    def _number(self, number: int) -> None:
        if number != self.number + 1:
            self.disorder = f"event {number} follows {self.number}"
        self.number = number

    def _data(self, data: bytes) -> None:
        if self.done or self.error:
            self.disorder = f"something follows the end: {data!r}"
        elif data == b"[DONE]":
            self.done = True
        elif "error" in (chunk := orjson.loads(data)):
            self.error = chunk["error"]
        else:
            for choice in chunk["choices"]:
                self.text += choice["delta"].get("content") or ""
                self.finish = choice["finish_reason"] or self.finish


@dataclass
class Load:
    """`clients` streams kept going, each of alias `model`, until the load is stopped.

    `deadline` is what the gateway gives a request (seconds).
    """

    url: str
    key: str
    clients: int
    model: str
    deadline: float
    outcomes: list[Outcome] = field(default_factory=list)
    running: bool = True
    flowing: int = 0

    async def client(self, session: aiohttp.ClientSession) -> None:
        """One client after another of its requests."""
        while self.running:
            outcome = await self.ask(session)
            self.outcomes.append(outcome)
            if outcome.end is not End.COMPLETE and self.running:
                await asyncio.sleep(PAUSE_SECONDS)

    async def ask(self, session: aiohttp.ClientSession) -> Outcome:
        """One request to its end."""
        marker = f"load-{uuid.uuid4().hex}"
        text = " ".join([marker, *(f"word{number}" for number in range(WORDS))])
        stream, begun = _Stream(), time.monotonic()
        status: int | None = None
        try:
            async with asyncio.timeout(self.deadline + DEADLINE_MARGIN):
                async with session.post(
                    f"{self.url}/v1/chat/completions", json=self._body(text), headers=self._headers(marker)
                ) as response:
                    status = response.status
                    if status != 200:
                        return _refusal(marker, begun, response, await response.read())
                    await self._read(response, stream)
        except TimeoutError:
            return Outcome(marker, End.WRONG, begun, time.monotonic(), status, detail="hangs past its deadline")
        except (aiohttp.ClientError, OSError) as error:
            end = End.WRONG if stream.disorder else End.CLOSED
            return Outcome(marker, end, begun, time.monotonic(), status, detail=stream.disorder or repr(error))
        return _judged(marker, begun, stream, text)

    async def _read(self, response: aiohttp.ClientResponse, stream: _Stream) -> None:
        self.flowing += 1
        try:
            async for line in response.content:
                stream.take(line)
        finally:
            self.flowing -= 1

    async def all_flow(self) -> None:
        """Wait for the moment in which every client reads a stream."""
        await eventually(lambda: self.flowing == self.clients, timeout=BACK_SECONDS)

    def _body(self, text: str) -> dict[str, Any]:
        return {"model": self.model, "stream": True, "messages": [{"role": "user", "content": f"Say: {text}"}]}

    def _headers(self, marker: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "x-session-id": marker}

    # -- what came of it ------------------------------------------------------------------------------------

    def of(self, end: End) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.end is end]

    def since(self, moment: float) -> list[Outcome]:
        """Those begun at or after `moment` (monotonic seconds)."""
        return [outcome for outcome in self.outcomes if outcome.begun >= moment]

    async def serves_again(self, since: float) -> float:
        """Wait for a whole answer to a request begun after `since` (monotonic); seconds from then to its end."""

        def first() -> float | None:
            return min((o.ended for o in self.since(since) if o.end is End.COMPLETE), default=None)

        try:
            ended = await eventually(first, timeout=BACK_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"not served again: {self.summary()}") from error
        return (ended or 0.0) - since

    def summary(self) -> str:
        """Counts by end, status and code, for a human."""
        counts = Counter((str(o.end), o.status, o.code) for o in self.outcomes)
        return ", ".join(f"{n} x {end} ({status}, {code})" for (end, status, code), n in counts.most_common())

    def check(self, *, closed: bool = False) -> None:
        """Every request ended in one of the ways that are right; a closed connection only where one is due."""
        wrong = self.of(End.WRONG)
        assert not wrong, f"{len(wrong)} ended wrongly, the first: {wrong[0]}; {self.summary()}"
        assert closed or not self.of(End.CLOSED), f"closed: {self.of(End.CLOSED)[0]}; {self.summary()}"


def _refusal(marker: str, begun: float, response: aiohttp.ClientResponse, body: bytes) -> Outcome:
    """An HTTP error, which must have the one shape, and say when to come back where that is right."""
    status, comes_back = response.status, "retry-after" in response.headers
    try:
        error = orjson.loads(body)["error"]
        right = set(error) == {"message", "type", "param", "code"} and bool(error["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Outcome(marker, End.WRONG, begun, time.monotonic(), status, detail=f"not the error shape: {body!r}")
    end = End.ERROR if right and (comes_back or status not in (429, 503)) else End.WRONG
    return Outcome(marker, end, begun, time.monotonic(), status, error["code"], error["message"])


def _judged(marker: str, begun: float, stream: _Stream, text: str) -> Outcome:
    """A response that came to a clean end on the connection."""
    ended = time.monotonic()
    if stream.disorder:
        return Outcome(marker, End.WRONG, begun, ended, 200, detail=stream.disorder)
    if stream.error:
        return Outcome(marker, End.ERROR, begun, ended, 200, stream.error["code"], stream.error["message"])
    # A slow answer is longer than the text asked for: the sandbox goes on with sentences of its own.
    if stream.done and stream.finish == "stop" and stream.text.startswith(text):
        return Outcome(marker, End.COMPLETE, begun, ended, 200)
    return Outcome(marker, End.WRONG, begun, ended, 200, detail=f"not whole, and no error: {stream}")


@asynccontextmanager
async def load(system: Sonant, key: str, clients: int, model: str = "brisk") -> AsyncIterator[Load]:
    """A load that runs inside the block; on leaving, requests in flight are seen to their end."""
    running = Load(system.url, key, clients, model, float(system.env["SONANT_CHAT_DEADLINE"]))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        tasks = [asyncio.create_task(running.client(session)) for _ in range(clients)]
        try:
            yield running
        finally:
            running.running = False
            await asyncio.gather(*tasks)


async def kill(system: Sonant, name: str) -> float:
    """`kill -9` a process and wait until another one is ready in its place; returns how long that took (seconds)."""
    killed_at, former = time.monotonic(), system.kill(name)

    def back() -> bool:
        pid = system.run()["processes"][name]["pid"]
        return pid not in (None, former) and system.ready(name)

    await eventually(back, timeout=BACK_SECONDS)
    return time.monotonic() - killed_at


# -- keys and books -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """A key of an organisation of its own, so that its usage is the load's and nothing else's."""

    org_id: str
    key_id: str
    key: str


def open_account(system: Sonant) -> Account:
    """Create a key through the admin route."""
    org_id = f"org-{uuid.uuid4().hex[:8]}"
    body = {"name": "load", "organization": org_id}
    created = httpx.post(f"{system.url}/v1/admin/keys", headers=system.headers, json=body, timeout=10.0).json()
    return Account(org_id, created["id"], created["key"])


def usage(system: Sonant, account: Account) -> Counter[str]:
    """Turns by outcome as telemetry tells them; empty while it does not answer."""
    try:
        response = httpx.get(f"{system.url}/v1/usage", headers={"Authorization": f"Bearer {account.key}"}, timeout=10.0)
    except httpx.HTTPError:
        return Counter()
    counts: Counter[str] = Counter()
    for row in response.json()["data"] if response.status_code == 200 else []:
        counts.update({name: row[name] for name in ("turns", "completed", "interrupted", "failed")})
    return counts


async def check_books(system: Sonant, account: Account, outcomes: Sequence[Outcome]) -> dict[str, Fact]:
    """Prove that the facts are those of the requests accepted, each once; returns them by marker.

    A request whose connection was closed before an answer began may or may not have been taken.
    """
    async with log_of(system) as log:
        await quiet(log)
        told = await facts(log, account.org_id)
    by_marker = _once_each(told)
    missing = [o for o in outcomes if o.accepted and o.marker not in by_marker]
    assert not missing, f"{len(missing)} accepted without a fact, the first: {missing[0]}"
    orphans = [o for o in outcomes if o.refused and o.marker in by_marker]
    assert not orphans, (
        f"{len(orphans)} refused and answered all the same: {orphans[0]}, {by_marker[orphans[0].marker]}"
    )
    strangers = by_marker.keys() - {o.marker for o in outcomes}
    assert not strangers, f"facts of nobody's requests: {strangers}"
    for outcome in outcomes:
        if outcome.end is End.COMPLETE:
            assert by_marker[outcome.marker].kind == "completed", f"{outcome}: {by_marker[outcome.marker]}"
    expected = Counter(fact.kind for fact in by_marker.values())
    expected["turns"] = len(by_marker)
    await eventually(lambda: usage(system, account) == expected, timeout=QUIET_SECONDS, interval=0.2)
    return by_marker


def _once_each(told: Sequence[Fact]) -> dict[str, Fact]:
    """The facts by marker. Repetitions of a fact are allowed, contradictions and second facts are not."""
    by_marker: dict[str, Fact] = {}
    for fact in told:
        first = by_marker.setdefault(fact.marker, fact)
        assert fact.id == first.id, f"two facts for one request: {first}, {fact}"
        assert fact.kind == first.kind, f"contradicting facts: {first}, {fact}"
    return by_marker

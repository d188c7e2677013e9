"""llm-stream as a process of its own beside the provider sandbox; the test plays the gateway."""

import asyncio
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from common.bus.live.reader import LiveReader
from common.bus.live.writer import LiveWriter, open_writer
from common.bus.valkey import ValkeyLog
from common.events.chat import (
    ANSWER_ATTACH,
    ANSWER_STOP,
    CHAT_EVENTS,
    CHAT_REPLY_REQUESTED,
    AnswerAttach,
    AnswerDialect,
    AnswerStop,
    ChatReplyRequested,
    StopReason,
)
from common.events.embeddings import EMBEDDINGS_REQUESTED, EmbeddingsRequested
from common.events.envelope import Event, open_event
from common.events.keys import KeyBudget
from common.events.registry import BY_NAME
from common.storage.redis import open_redis
from sandbox import app as sandbox
from tests.support.heard import Exchange, Heard
from tests.support.mailbox import open_mailbox
from tests.support.scripted import Scripted, blocked_port, chunk, messages, scripted, sse
from tests.support.service import numbered, process_of
from tests.support.sonant import RECORD_KEY, SHOW_RECORD
from tests.support.waiting import eventually

__all__ = [
    "HELLO",
    "HELLO_TEXT",
    "PATIENCE",
    "VALKEY_DATABASE",
    "AliasUnderTest",
    "Exchange",
    "Heard",
    "Scripted",
    "World",
    "alias_table",
    "blocked_port",
    "chunk",
    "messages",
    "scripted",
    "serving",
    "sse",
]

# The one service of the session keeps its position under fixed names: no other world may be emptied under it.
VALKEY_DATABASE = 8
# Short, so that silence is over soon; long enough for a busy machine to answer within.
PATIENCE = {"first_byte_timeout": 0.6, "idle_timeout": 0.6, "connect_timeout": 0.6, "whole_timeout": 0.6}
HELLO = "Say: One is here. Two is here. Three is here. Four is here."
HELLO_TEXT = HELLO.removeprefix("Say: ")


@dataclass(frozen=True)
class AliasUnderTest:
    """A model alias of one test; `models` are the sandbox models behind it, in order."""

    name: str
    models: tuple[str, ...]
    upstreams: tuple[str, ...]


class World:
    """The service, the sandbox it asks, and the gateway's side of the bus."""

    def __init__(
        self, log: ValkeyLog, live: LiveWriter, reader: LiveReader, http: aiohttp.ClientSession, models_file: Path
    ) -> None:
        self.log = log
        self.live = live
        self.reader = reader
        self.http = http
        self.models_file = models_file
        self.sandbox = ""
        self.ops = ""
        self.process: asyncio.subprocess.Process | None = None
        self.output: Path = models_file.with_name("llm-stream.log")
        self._tables: dict[str, str] = {}
        self._facts: dict[str, list[Event[Any]]] = {}
        self._read_up_to: dict[int, str] | None = None
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def second(self, name: str, table: str, urls: tuple[str, str], **settings: str) -> AsyncIterator["World"]:
        """Another process of the service with aliases of its own, on the log and the live store at these URLs.

        It has a log of its own, since an embedded log has one reader.
        """
        log_url, live_url = urls
        models_file = self.models_file.with_name(f"{name}.toml")
        models_file.write_text(table)
        variables = {
            "SONANT_LOG_URL": log_url,
            "SONANT_REDIS_URL": live_url,
            "SONANT_MODELS_FILE": str(models_file),
            "SONANT_INSTANCE": name,
            **settings,
        }
        async with open_redis(log_url) as redis, open_writer(live_url) as live, open_mailbox(live_url) as reader:
            log = ValkeyLog(log_url, redis)
            other = World(log, live, reader, self.http, models_file)
            other.sandbox = self.sandbox
            async with process_of("llm_stream", models_file.with_suffix(".log"), variables) as running:
                await running.ready()
                yield other
            await log.close()

    # -- the models file ----------------------------------------------------------------------------------------

    async def alias(self, *upstreams: str | dict[str, Any], name: str | None = None, **options: Any) -> AliasUnderTest:
        """Add an alias and have the service reload; an upstream is given by its sandbox faults or its own table.

        An option that is None is left out, those of `PATIENCE` too.
        """
        alias = name or f"alias-{uuid.uuid4().hex[:8]}"
        tables = [self._upstream(alias, position, each) for position, each in enumerate(upstreams)]
        given = {key: value for key, value in {**PATIENCE, **options}.items() if value is not None}
        self._tables[alias] = alias_table(alias, tables, given)
        await self.reload()
        names, models = tuple(t["name"] for t in tables), tuple(t["model"] for t in tables)
        return AliasUnderTest(alias, models, names)

    def _upstream(self, alias: str, position: int, given: str | dict[str, Any]) -> dict[str, Any]:
        table: dict[str, Any] = {
            "name": f"{alias}-{'abcde'[position]}",
            "base_url": f"{self.sandbox}/v1",
            "model": f"sandbox-{alias}-{'abcde'[position]}",
            "provider": "sandbox",
        }
        if isinstance(given, dict):
            faults = given.get("faults", "")
            if "dialect" in given:
                table["model"] = f"{given['dialect']}/{table['model']}"
            table |= {key: value for key, value in given.items() if key not in ("faults", "dialect")}
        else:
            faults = given
        if faults:
            table["model"] += f"+{faults}"
        return table

    async def reload(self) -> None:
        """Write the models file and wait until the service has taken it over."""
        await self.judged("\n".join(self._tables.values()), "done")

    def forget(self) -> None:
        """Leave the aliases so far out of the next models file."""
        self._tables.clear()

    async def judged(self, content: str, outcome: str) -> None:
        """Put this content into the models file; the service must come to `outcome`: done or refused."""
        before = self._verdicts(outcome)
        # In one step, as a careful operator does it: the service may reload at any moment.
        draft = self.models_file.with_suffix(".new")
        draft.write_text(content)
        draft.rename(self.models_file)
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        await eventually(lambda: self._verdicts(outcome) > before)

    def _verdicts(self, outcome: str) -> int:
        """From the log: the metrics grow with every upstream there ever was, and tests make many."""
        message = {"done": b"models reloaded", "refused": b"models file refused"}[outcome]
        return self.output.read_bytes().count(message)

    # -- the gateway's side -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(
        self,
        model: AliasUnderTest | str,
        said: str = HELLO,
        *,
        stream: bool = True,
        seconds: float = 20.0,
        request_id: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        project_id: str | None = None,
        resume_grace: float = 0.0,
        org_id: str = "org-1",
        answer_tokens: int | None = None,
        budget: KeyBudget | None = None,
        cache: Literal["on", "off", "refresh", "bypass"] | None = None,
        dialect: AnswerDialect | None = None,
        **body: Any,
    ) -> AsyncIterator[Exchange]:
        """Ask for an answer that must be complete within `seconds`; `body` is merged into the request."""
        name = model if isinstance(model, str) else model.name
        request_id = request_id or f"chatcmpl-{uuid.uuid4().hex}"
        now = time.time()
        asked = {"model": name, "stream": stream, "messages": [{"role": "user", "content": said}], **body}
        payload = ChatReplyRequested(
            request_id=request_id,
            org_id=org_id,
            key_id="key-1",
            session_id=session_id or request_id,
            user_id=user_id,
            project_id=project_id,
            model=name,
            stream=stream,
            body=asked,
            resume_grace=resume_grace,
            received_at=now,
            answer_tokens=answer_tokens,
            budget=budget,
            cache=cache,
            dialect=dialect,
        )
        event = Event(
            CHAT_REPLY_REQUESTED,
            payload,
            deadline=now + seconds,
            reply_to=self.reader.mailbox,
            request_id=request_id,
        )
        with self.reader.waiting(request_id) as waiter:
            await self.log.publish(event.record())
            yield Exchange(request_id, payload.session_id, waiter)

    async def ask(self, model: AliasUnderTest | str, said: str = HELLO, **options: Any) -> tuple[Heard, Any]:
        """The whole of one turn: what was heard, and the fact about it."""
        async with self.turn(model, said, **options) as turn:
            heard = await turn.ended()
        return heard, await self.fact(turn.id)

    @asynccontextmanager
    async def embedding(
        self,
        model: AliasUnderTest,
        given: Any = "One is here.",
        *,
        seconds: float = 20.0,
        deliveries: int = 1,
        **body: Any,
    ) -> AsyncIterator[Exchange]:
        """Ask for embeddings; `body` is merged into the request, which the log delivers so many times."""
        request_id = f"embd-{uuid.uuid4().hex}"
        now = time.time()
        payload = EmbeddingsRequested(
            request_id=request_id,
            org_id="org-1",
            key_id="key-1",
            session_id=request_id,
            model=model.name,
            body={"model": model.name, "input": given, **body},
            received_at=now,
        )
        event = Event(
            EMBEDDINGS_REQUESTED,
            payload,
            deadline=now + seconds,
            reply_to=self.reader.mailbox,
            request_id=request_id,
        )
        with self.reader.waiting(request_id) as waiter:
            for _ in range(deliveries):
                await self.log.publish(event.record())
            yield Exchange(request_id, request_id, waiter)

    async def stop(self, turn: Exchange, reason: StopReason = "client_closed", **fields: Any) -> float:
        """Signal that a turn is to stop; returns when, in unix seconds."""
        at = time.time()
        stop = AnswerStop(request_id=turn.id, reason=reason, at=at, mailbox=self.reader.mailbox, **fields)
        await self.live.signal(ANSWER_STOP, stop)
        return at

    async def attach(self, turn: Exchange) -> None:
        """Take a turn up behind what was heard of it."""
        heard, mailbox = turn.heard.frames, self.reader.mailbox
        after = heard[-1].number if heard else 0
        attach = AnswerAttach(request_id=turn.id, audience="org-1", mailbox=mailbox, after=after)
        await self.live.signal(ANSWER_ATTACH, attach)

    # -- what was left behind -----------------------------------------------------------------------------------

    async def facts(self, request_id: str) -> list[Event[Any]]:
        """Every fact published so far about a request."""
        async with self._reading:
            while records := await self.log.read(CHAT_EVENTS, limit=500, after=self._read_up_to):
                for record in records:
                    self._read_up_to = {record.partition.number: record.offset}
                    event = open_event(record, BY_NAME[record.headers["event-type"]])
                    if event.id.endswith("/end"):
                        self._facts.setdefault(event.payload.request_id, []).append(event)
        return self._facts.get(request_id, [])

    async def fact(self, request_id: str) -> Any:
        """The payload of the one fact about a request."""
        events = await eventually(lambda: self.facts(request_id))
        assert len(events) == 1
        return events[0].payload

    async def fact_within(self, request_id: str) -> Any:
        """The payload of the one fact about what was asked within a turn."""

        async def told() -> list[Any]:
            await self.facts(request_id)
            payloads = [event.payload for events in self._facts.values() for event in events]
            return [each for each in payloads if getattr(each, "within_turn", None) == request_id]

        [payload] = await eventually(told)
        return payload

    async def calls(self, model: str) -> list[dict[str, Any]]:
        """What the sandbox saw of one of its models."""
        async with self.http.get(
            f"{self.sandbox}/sandbox/requests", params={"model": model}, headers=SHOW_RECORD
        ) as response:
            return list(await response.json())

    async def call_ended(self, model: str, end: str) -> dict[str, Any]:
        """The last call of a model, once it has ended; it must have ended like that."""

        async def ended() -> dict[str, Any] | None:
            calls = await self.calls(model)
            return calls[-1] if calls and calls[-1]["end"] is not None else None

        call: dict[str, Any] | None = await eventually(ended)
        assert call is not None
        assert call["end"] == end
        return call

    async def metric(self, name: str, labels: str) -> float:
        """One sample of the service's metrics, 0 where there is none yet."""
        async with self.http.get(f"{self.ops}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{{labels}}}")), 0.0)


def alias_table(name: str, upstreams: Sequence[dict[str, Any]], options: dict[str, Any]) -> str:
    """One alias in TOML."""
    lines = [f'[aliases."{name}"]', *_assignments(options)]
    for upstream in upstreams:
        lines += [f'[[aliases."{name}".upstreams]]', *_assignments(upstream)]
    return "\n".join(lines)


def _assignments(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{key} = {{ {', '.join(_assignments(value))} }}"
        else:
            yield f"{key} = {json.dumps(value)}"


@asynccontextmanager
async def serving(world: World, url: str) -> AsyncIterator[None]:
    """Run the service until the block ends; it must then stop by itself, in good order."""
    variables = {
        "SONANT_LOG_URL": url,
        "SONANT_REDIS_URL": url,
        "SONANT_MODELS_FILE": str(world.models_file),
        "SONANT_INSTANCE": "llm-under-test",
        "LLM_TEST_REFUSED_KEY": "sk-invalid",
        "SONANT_MODERATION_URL": f"{world.sandbox}/v1",
    }
    async with process_of("llm_stream", world.output, variables) as running:
        world.process, world.ops = running.process, running.ops_url
        await running.ready()
        yield


@pytest.fixture(scope="session")
async def _llm_service(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One service for the session; tests keep apart by aliases of their own."""
    url = numbered(valkey_url, VALKEY_DATABASE)
    models_file = tmp_path_factory.mktemp("llm-stream") / "models.toml"
    async with open_redis(url) as redis, open_writer(url) as live, open_mailbox(url) as reader:
        async with aiohttp.ClientSession() as http, sandbox.serve(record_key=RECORD_KEY) as address:
            log = ValkeyLog(url, redis)
            world = World(log, live, reader, http, models_file)
            world.sandbox = address
            models_file.write_text(alias_table("first", [world._upstream("first", 0, "")], PATIENCE))
            async with serving(world, url):
                yield world
            await log.close()


@pytest.fixture
async def llm_world(_llm_service: World) -> AsyncIterator[World]:
    """The service with aliases of this test alone."""
    yield _llm_service
    _llm_service.forget()

"""One turn in an instance of llm-stream without its process, on a live store and upstreams that do what a test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import orjson

from common.bus.batching import Batcher
from common.bus.live.frames import Frame
from common.bus.live.kept_bodies import KeptBodies
from common.bus.live.writer import LiveWriter
from common.clients.resources.client import ActiveSets
from common.events.chat import (
    CHAT_REPLY_REQUESTED,
    AnswerDialect,
    AnswerStop,
    ChatReplyRequested,
    SessionUse,
    UtteranceProsody,
)
from common.events.envelope import Event
from common.events.record import Record
from common.secret_box import SecretBox
from common.storage.key_budgets import KeyBudgets
from llm_stream.adapters.bpe import BpeTokenizers
from llm_stream.adapters.event_stream import EventLines
from llm_stream.aliases import AliasTable, Upstream
from llm_stream.answer.backlog import AnswerMemory
from llm_stream.answer.embeddings import LargeRequests
from llm_stream.answer.failover import Breakers
from llm_stream.answer.moderation import Moderation
from llm_stream.answer.response_cache import AnswerCache
from llm_stream.context.token_counter import TokenCounter
from llm_stream.deps import Deps
from llm_stream.history.session_variables import SessionVariables
from llm_stream.ports import (
    AnswerStore,
    Endpoint,
    Moderator,
    Passages,
    Patience,
    Take,
    ToolServer,
    UpstreamError,
)
from llm_stream.tools.execution import Calls
from llm_stream.tools.toolbox import Toolbox
from llm_stream.turns import life
from llm_stream.turns.claim import Claims
from llm_stream.turns.early_stops import EarlyStops
from llm_stream.turns.running_turns import RunningTurns
from tests.support.remembered import Copies, memory_of
from tests.support.scripted import chunk

# Loaded once for all tests.
TOKENIZERS = BpeTokenizers()
THREADS = ThreadPoolExecutor(1)
PAYLOADS = [orjson.dumps(chunk("Hi.")), orjson.dumps(chunk(finish="stop")), b"[DONE]"]
TABLE = {
    "small": {"upstreams": [{"name": "s", "base_url": "http://s", "model": "s"}], "larger": "large"},
    "large": {"upstreams": [{"name": "l", "base_url": "http://l", "model": "l"}]},
}


class Live:
    """A live store of which a test sets the answers to the next claims; `None` is a key that was not there."""

    def __init__(self, *claims: dict[str, Any] | Exception | None) -> None:
        self.claims = list(claims)
        self.claimed = asyncio.Event()
        self.claimed.set()
        self.frames: list[Frame] = []
        self.commands: list[tuple[Any, ...]] = []
        self.signals: list[str] = []

    async def command(self, *command: Any) -> bytes | None:
        await self.claimed.wait()
        answer = self.claims.pop(0) if command[0] == "SET" and "NX" in command else None
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else orjson.dumps(answer)

    async def listening(self, mailbox: str) -> bool:
        return False

    def send(self, mailbox: str, frame: Frame) -> None:
        self.frames.append(frame)

    def queue_command(self, *command: Any) -> None:
        self.commands.append(command)

    def queue_signal(self, spec: Any, payload: Any) -> None:
        self.signals.append(spec.kind)

    async def settled(self) -> None:
        return None

    @property
    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.frames]


class Body:
    """What an upstream answers: bytes that arrive cut at `edges`."""

    def __init__(self, content: bytes, edges: Sequence[int] = ()) -> None:
        self._content = content
        self._edges = sorted({0, len(content), *(edge for edge in edges if edge < len(content))})

    async def relay(self, take: Take) -> None:
        lines = EventLines()
        for start, end in pairwise(self._edges):
            for payload in lines.feed(self._content[start:end]):
                take(payload)
        for payload in lines.end():
            take(payload)

    async def whole(self, grew: Callable[[int], None] | None = None) -> bytes:
        return self._content

    def pause(self) -> None:
        raise AssertionError("there is nothing to wait for")

    def resume(self) -> None:
        return None

    def close(self) -> None:
        return None


class Model:
    """Upstreams that answer with `PAYLOADS` or, by name, with other bytes, refuse, or stay open until closed."""

    def __init__(
        self,
        refusals: dict[str, UpstreamError] | None = None,
        *,
        silent: bool = False,
        bodies: Mapping[str, Body] | None = None,
    ) -> None:
        self.refusals = refusals or {}
        self.silent = silent
        self.bodies = bodies or {}
        self.asked: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.accepted = asyncio.Event()
        self.closed = 0

    @asynccontextmanager
    async def ask(
        self, upstream: Upstream, body: dict[str, Any], patience: Patience, endpoint: Endpoint = Endpoint.CHAT
    ) -> AsyncIterator["Model | Body"]:
        self.asked.append(upstream.name)
        self.requests.append(body)
        if upstream.name in self.refusals:
            raise self.refusals[upstream.name]
        self.accepted.set()
        yield self.bodies.get(upstream.name, self)

    async def relay(self, take: Take) -> None:
        if self.silent:
            take(PAYLOADS[0])
            await asyncio.Event().wait()
        for payload in PAYLOADS:
            take(payload)

    async def whole(self, grew: Callable[[int], None] | None = None) -> bytes:
        raise NotImplementedError

    def pause(self) -> None:
        raise AssertionError("there is nothing to wait for")

    def resume(self) -> None:
        raise AssertionError("it never waits")

    def close(self) -> None:
        self.closed += 1


class World:
    """One instance of llm-stream without its process."""

    def __init__(
        self,
        live: Live,
        model: Model,
        table: Mapping[str, Any] = TABLE,
        toolbox: Toolbox | None = None,
        *,
        budgets: KeyBudgets | None = None,
        moderation: Moderation | None = None,
        store: AnswerStore | None = None,
        active_sets: ActiveSets | None = None,
        passages: Passages | None = None,
    ) -> None:
        writer = cast("LiveWriter", live)
        early_stops = EarlyStops(writer)
        self.live = live
        self.model = model
        self.facts: list[dict[str, Any]] = []
        self.copies = Copies()
        facts = Batcher(self._publish, name="facts")
        self.deps = Deps(
            facts=facts,
            live=writer,
            kept_bodies=cast("KeptBodies", None),
            claims=Claims(writer, owner="us", keep_seconds=60),
            turns=RunningTurns(writer, early_stops),
            memory=AnswerMemory(),
            early_stops=early_stops,
            chat_model=model,
            large_embeddings=LargeRequests(1),
            breakers=Breakers(),
            aliases=AliasTable.model_validate({"aliases": table}),
            active_sets=cast("ActiveSets", active_sets),
            token_counter=TokenCounter(TOKENIZERS, THREADS),
            budgets=cast("KeyBudgets", budgets),
            moderation=moderation or Moderation(cast("Moderator", None), fails_open=False),
            answer_cache=AnswerCache(cast("AnswerStore", store), max_entry_bytes=65_536),
            session_variables=SessionVariables(cast("AnswerStore", store)),
            toolbox=toolbox or Toolbox({}, cast("ToolServer", None), SecretBox([]), cast("Calls", None)),
            sessions=memory_of(self.copies, facts.put),
            passages=cast("Passages", passages),
        )

    async def _publish(self, records: Sequence[Record]) -> None:
        self.facts += [{"type": record.headers["event-type"], **orjson.loads(record.value)} for record in records]

    async def answer(
        self,
        during: Callable[[], Any] | None = None,
        *,
        age: float = 0.0,
        stream: bool = True,
        dialect: AnswerDialect | None = None,
        prosody: tuple[UtteranceProsody, ...] | None = None,
        session: SessionUse | None = None,
        user_id: str | None = None,
        request_id: str = "chatcmpl-1",
        project_id: str | None = None,
        **body: Any,
    ) -> None:
        """A request that was received `age` seconds ago; `during` is called once its upstream has accepted it."""
        request = ChatReplyRequested(
            request_id=request_id,
            org_id="o",
            key_id="k",
            session_id="s",
            user_id=user_id,
            model="small",
            stream=stream,
            body={"messages": [{"role": "user", "content": "Hi"}], **body},
            received_at=time.time() - age,
            dialect=dialect,
            prosody=prosody,
            session=session,
            project_id=project_id,
        )
        event = Event(CHAT_REPLY_REQUESTED, request, deadline=time.time() + 10.0, reply_to="gateway")
        answering = asyncio.create_task(life.answer(event, self.deps))
        if during is not None:
            await self.model.accepted.wait()
            await asyncio.sleep(0)
            during()
        await answering

    async def answer_published(self) -> None:
        """The request that this instance published last, as whoever reads the log answers it."""
        *_, fact = (fact for fact in self.facts if fact["type"].startswith("chat.reply.requested/"))
        request = ChatReplyRequested.model_validate({name: value for name, value in fact.items() if name != "type"})
        await life.answer(Event(CHAT_REPLY_REQUESTED, request, deadline=time.time() + 10.0), self.deps)

    def stop(self, *, withdrawn: bool = False, request_id: str = "chatcmpl-1", delivered: int | None = None) -> None:
        signal = AnswerStop(
            request_id=request_id,
            mailbox="gateway",
            reason="client_closed",
            at=time.time(),
            withdrawn=withdrawn,
            delivered=delivered,
        )
        self.deps.turns.on_stop(signal)

    def outcomes(self) -> list[str]:
        [fact] = self.facts
        return [attempt["outcome"] for attempt in fact.get("attempts", ())]

"""Composition root of llm-stream."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import structlog

from common.bus.batching import Batcher
from common.bus.live.kept_bodies import open_kept_bodies
from common.bus.live.signals import on_signal
from common.bus.port import Log
from common.bus.request_reply import Requester
from common.clients.resources.client import open_resource_client
from common.clients.retrieval.search_client import SearchClient
from common.events.chat import ANSWER_ATTACH, ANSWER_READ, ANSWER_STOP, SESSION_INTERRUPT
from common.events.record import Record
from common.kernel.service import Kernel, Service
from common.kernel.worker_processes import WorkerProcesses
from common.providers.addresses import AddressRules, networks
from common.providers.guarded_http import open_guarded_http
from common.storage.key_budgets import KeyBudgets
from common.storage.resp import Resp, open_resp
from llm_stream import aliases
from llm_stream.adapters.bpe import BpeTokenizers
from llm_stream.adapters.openai_http import open_chat_model
from llm_stream.adapters.openai_moderation import OpenAiModeration
from llm_stream.adapters.python_tools import PythonToolsError, python_tools
from llm_stream.adapters.redis_answer_cache import RedisAnswerCache
from llm_stream.adapters.redis_sessions import RedisSessions
from llm_stream.adapters.session_archive import TelemetryArchive
from llm_stream.adapters.tool_server import HttpToolServer
from llm_stream.adapters.weather_api import OpenMeteo
from llm_stream.aliases import OPENAI_URL
from llm_stream.answer.backlog import AnswerMemory
from llm_stream.answer.embeddings import LargeRequests
from llm_stream.answer.failover import Breakers
from llm_stream.answer.moderation import Moderation
from llm_stream.answer.response_cache import AnswerCache
from llm_stream.answer.whole_answers import WholeAnswers
from llm_stream.answer.window import load_tokenizers
from llm_stream.context.token_counter import open_token_counter
from llm_stream.deps import Deps
from llm_stream.handlers import HANDLERS
from llm_stream.history.session_memory import SessionMemory
from llm_stream.history.session_variables import SessionVariables
from llm_stream.metrics import BACKLOG_BYTES, MODELS_RELOADS, RUNNING_BYTES, WHOLE_BYTES
from llm_stream.settings import LlmStreamSettings
from llm_stream.tools.builtin import builtin_tools
from llm_stream.tools.execution import Calls
from llm_stream.tools.toolbox import Toolbox, named_tools
from llm_stream.turns.claim import Claims
from llm_stream.turns.early_stops import EarlyStops
from llm_stream.turns.gateways import GatewayWatch
from llm_stream.turns.kept_answers_quota import KeptAnswers
from llm_stream.turns.running_turns import RunningTurns

log = structlog.get_logger(__name__)

# Nobody waits for a fact: some in one publication cost the log and its readers less than each alone.
FACTS_LINGER_SECONDS = 0.05


@asynccontextmanager
async def open_deps(settings: LlmStreamSettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """Everything a turn needs; raises ModelsFileError at boot when the models file is wrong."""
    memory = _memory(settings)
    early_stops = EarlyStops(kernel.live)
    whole_answers = WholeAnswers(settings.whole_answers_bytes)
    WHOLE_BYTES.set_function(lambda: whole_answers.total)
    turns = RunningTurns(kernel.live, early_stops, whole_answers)
    signals = [
        on_signal(ANSWER_STOP, turns.on_stop),
        on_signal(SESSION_INTERRUPT, turns.on_interrupt),
        on_signal(ANSWER_ATTACH, turns.on_attach),
        on_signal(ANSWER_READ, turns.on_read),
    ]
    table = _aliases(settings)
    async with open_chat_model(settings.max_answer_bytes, settings.max_embeddings_bytes) as chat_model:
        async with (
            _open_toolbox(settings) as toolbox,
            kernel.read_live(f"llm-stream:{settings.instance}", signals) as reader,
            open_resource_client(settings.redis_url, requester := Requester(kernel.log, reader)) as resources,
            open_resp(settings.redis_url) as sessions,
            open_kept_bodies(settings.redis_url) as kept_bodies,
            open_token_counter(BpeTokenizers()) as token_counter,
            open_resp(settings.redis_url) as spending,
            open_resp(settings.redis_url) as cache,
            _open_moderation(settings) as moderation,
        ):
            kept = RedisAnswerCache(cache, settings.response_cache_bytes)
            facts = Batcher(partial(_publish, kernel.log), name="publish-facts", linger=FACTS_LINGER_SECONDS)
            deps = Deps(
                facts=facts,
                live=kernel.live,
                kept_bodies=kept_bodies,
                claims=Claims(
                    kernel.live, owner=reader.mailbox, keep_seconds=settings.resume_seconds, quota=_quota(settings)
                ),
                turns=turns,
                early_stops=early_stops,
                chat_model=chat_model,
                large_embeddings=LargeRequests(settings.max_large_embeddings),
                breakers=Breakers(),
                aliases=table,
                active_sets=resources.sets,
                memory=memory,
                token_counter=token_counter,
                toolbox=toolbox,
                budgets=KeyBudgets(spending),
                moderation=moderation,
                answer_cache=AnswerCache(kept, max_entry_bytes=settings.response_cache_entry_bytes),
                session_variables=SessionVariables(kept, kept=settings.chat_store != "off"),
                sessions=_session_memory(settings, kernel, sessions, TelemetryArchive(requester), facts, early_stops),
                passages=SearchClient(requester),
                session_mark=settings.session_mark,
            )
            await load_tokenizers(table.aliases.values(), token_counter)
            kernel.tasks.spawn(GatewayWatch(kernel.live, turns, reader.mailbox).run(), "watch-gateways")
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, settings, deps)
            yield deps
            await facts.close()


@asynccontextmanager
async def _open_toolbox(settings: LlmStreamSettings) -> AsyncIterator[Toolbox]:
    """The tools of this instance. Raises PythonToolsError, and ValueError for a setting that cannot be."""
    rules = AddressRules(allow=networks(settings.tool_networks))
    workers = WorkerProcesses(modules=["llm_stream.tools.arguments"])
    calls = Calls(workers)
    names = [name.strip() for name in settings.python_tools.split(",") if name.strip()]
    async with open_guarded_http(rules) as http, aiohttp.ClientSession() as session:
        weather = OpenMeteo(
            session,
            settings.weather_url or settings.sandbox_url or "https://api.open-meteo.com",
            settings.geocoding_url or settings.sandbox_url or "https://geocoding-api.open-meteo.com",
        )
        with python_tools(names) as others:
            yield Toolbox(
                named_tools(builtin_tools(weather), others),
                HttpToolServer(http),
                settings.secret_box(),
                calls,
                settings.max_tool_rounds,
            )
            await calls.close()
    await workers.close()


@asynccontextmanager
async def _open_moderation(
    settings: LlmStreamSettings, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Moderation]:
    """The moderator of the settings: the one named, else OpenAI's where there is a key, else the sandbox, else none."""
    key = environment.get(settings.moderation_key_env, "").strip()
    url = settings.moderation_url
    if url is None:
        url = OPENAI_URL if key else f"{settings.sandbox_url}/v1" if settings.sandbox_url else None
    async with aiohttp.ClientSession() as session:
        moderator = OpenAiModeration(
            session, url, key or "none", settings.moderation_model, seconds=settings.moderation_seconds
        )
        yield Moderation(moderator, fails_open=settings.moderation_failure == "open")


def _session_memory(
    settings: LlmStreamSettings,
    kernel: Kernel,
    connection: Resp,
    archive: TelemetryArchive,
    facts: Batcher[Record],
    early_stops: EarlyStops,
) -> SessionMemory:
    copies = RedisSessions(
        connection,
        kernel.live,
        session_bytes=settings.session_bytes,
        total_bytes=settings.hot_sessions_bytes,
        idle_seconds=settings.hot_session_seconds,
    )
    return SessionMemory(
        copies,
        archive,
        facts.put,
        kernel.tasks.spawn,
        most=settings.chat_store,
        turn_bytes=settings.session_turn_bytes,
        interrupted_at=early_stops.signal_at,
    )


def _memory(settings: LlmStreamSettings) -> AnswerMemory:
    memory = AnswerMemory(
        window=settings.answer_backlog_bytes,
        max_unread=settings.backlog_bytes,
        max_kept=settings.running_answers_bytes,
    )
    BACKLOG_BYTES.set_function(lambda: memory.unread)
    RUNNING_BYTES.set_function(lambda: memory.kept)
    return memory


def _quota(settings: LlmStreamSettings) -> KeptAnswers:
    return KeptAnswers(
        seconds=settings.resume_seconds,
        max_answer=settings.kept_answer_bytes,
        max_total=settings.kept_answers_bytes,
    )


async def _publish(log: Log, facts: Sequence[Record]) -> None:
    await log.publish(*facts)


def _aliases(settings: LlmStreamSettings) -> aliases.AliasTable:
    """Raises ModelsFileError."""
    return aliases.load(settings.models_file, settings.sandbox_url, local_model_url=settings.local_model_url)


def _reload(settings: LlmStreamSettings, deps: Deps) -> None:
    """Swap the table between two turns; a file that is wrong changes nothing."""
    try:
        deps.aliases = _aliases(settings)
    except aliases.ModelsFileError as error:
        MODELS_RELOADS.labels("refused").inc()
        log.error("models file refused, the former one stays", error=str(error))
    else:
        MODELS_RELOADS.labels("done").inc()
        log.info("models reloaded", aliases=list(deps.aliases.names))


def wrong_in_what_is_named(settings: LlmStreamSettings) -> Iterator[str]:
    """A line `SONANT_NAME: why` for each thing that the settings name and that cannot be used: models file, tools."""
    try:
        _aliases(settings)
    except aliases.ModelsFileError as error:
        yield from (f"SONANT_MODELS_FILE: {error.file}: {problem}" for problem in error.problems)
    try:
        with python_tools([name.strip() for name in settings.python_tools.split(",") if name.strip()]):
            pass
    except PythonToolsError as error:
        yield f"SONANT_PYTHON_TOOLS: {error}"


def build(settings: LlmStreamSettings) -> Service[LlmStreamSettings, Deps]:
    """The service, ready to run."""
    return Service("llm-stream", settings, deps=open_deps, consumes=HANDLERS)

"""Composition root: which adapters media runs on."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.bus.live.signals import on_signal
from common.bus.outbox import OutboxPublisher
from common.bus.request_reply import Requester
from common.events.analyses import ANALYSIS_KIND
from common.events.chat import ANSWER_ATTACH, ANSWER_READ, ANSWER_STOP
from common.events.documents import DOCUMENT_KIND
from common.events.envelope import Event
from common.events.spec import Payload
from common.events.speech import SPEECH_KIND
from common.failures import StoreUnavailableError
from common.jobs.job_spec import DAY_SECONDS, JobSpec, Kinds
from common.jobs.open_jobs import JOBS_MIGRATIONS, JobsOf, open_jobs
from common.kernel.service import Kernel, Service
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerLimits, WorkerProcesses, open_workers
from common.providers.addresses import AddressRules, networks
from common.providers.guarded_http import open_guarded_http
from common.providers.provider_registry import ProviderRegistry
from common.storage.command_answers import prune_answers
from common.storage.database_watch import DatabaseWatch
from common.storage.objects import open_objects, wrong_directory
from common.storage.postgres import Pool, open_postgres
from common.storage.unit_of_work import UnitOfWork, UnitsOfWork
from media.adapters.analysis_models import open_analysis_desk
from media.adapters.catalogue_voices import ResourceVoices
from media.adapters.document_index import open_documents
from media.adapters.expression_lab import open_expression_lab
from media.adapters.kept_objects import KeptObjects
from media.adapters.postgres_assets import PostgresAssets
from media.adapters.postgres_webhooks import PostgresWebhooks, PostgresWebhookTables
from media.adapters.redis_leases import RedisLeases
from media.adapters.script_writer import open_script_writer
from media.adapters.song_library import open_song_library
from media.adapters.sound_workers import SPEAKER, SPEAKER_LIMITS, SoundWorkers
from media.adapters.speech_providers import open_speech_providers
from media.adapters.video_studio import open_video_studio
from media.assets.asset_store import AssetBounds, Assets
from media.assets.asset_sweep import AssetSweep
from media.deps import Deps, Webhooks
from media.handlers import HANDLERS
from media.kinds import KINDS
from media.ports import AssetRows
from media.settings import MediaSettings
from media.speech.answering import Speech
from media.speech.running_speech import RunningSpeech
from media.speech.speaking import Speaking
from media.speech.speech_claims import SpeechClaims
from media.speech.speech_files import SpeechFiles
from media.speech.synthesis import Synthesis
from media.speech.voice_choice import Voices
from media.speech.voice_table import voice_table
from media.webhook_ports import WebhookTables
from media.webhooks.sender import SenderLimits, WebhookSender

SCHEMA = "media"
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Voice turns on the same machine go first, whatever is rendered. With 19 it would get a hundredth of a busy core, and
# jobs would end by their deadlines.
NICENESS = 10
# For a look at a file: some seconds at most, whatever it is.
BRIEF_SECONDS = 30.0
PRUNE_WEBHOOKS_SECONDS = 60.0


@asynccontextmanager
async def open_deps(settings: MediaSettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated, the assets, the providers, and the runner of jobs."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(_open_pool(settings))
        outbox = OutboxPublisher(pool, kernel.log, SCHEMA)
        tasks = [
            kernel.tasks.spawn(watch.run(pool), "watch-database"),
            kernel.tasks.spawn(outbox.run(), "publish-outbox"),
            kernel.tasks.spawn(prune_answers(pool, SCHEMA, settings.webhook_answers_seconds), "prune-answers"),
        ]
        stack.push_async_callback(end, *tasks)
        workers, brief = await _open_processes(stack, settings)
        registry = ProviderRegistry()
        rules = AddressRules(allow=networks(settings.media_networks))
        public = await stack.enter_async_context(open_guarded_http(rules))
        video = await stack.enter_async_context(open_video_studio(settings, registry, public))
        expressions = await stack.enter_async_context(open_expression_lab(settings, registry, public))
        analyses = open_analysis_desk(settings, pool)
        assets, rows = await _open_assets(stack, settings, kernel, pool)
        documents = await stack.enter_async_context(open_documents(settings, kernel, pool, public, registry))

        speech, files = await stack.enter_async_context(open_speech(settings, kernel, pool, assets, registry))

        async def discard(org_id: str, job_id: str) -> None:
            await analyses.rows.drop_drafts(org_id, job_id)
            await assets.delete_of_job(org_id, job_id)

        songs = await stack.enter_async_context(open_song_library(settings, kernel, pool, brief, registry))
        script_writer = await stack.enter_async_context(open_script_writer(settings, registry))
        webhooks = await stack.enter_async_context(_open_webhooks(settings, kernel, pool, outbox))
        jobs = JobsOf(kinds=_kinds(settings), schema=SCHEMA, workers=workers, brief=brief, discard=discard)
        yield await stack.enter_async_context(
            open_jobs(
                kernel,
                pool,
                jobs,
                lambda desk: Deps(
                    settings=settings,
                    desk=desk,
                    assets=assets,
                    asset_rows=rows,
                    video=video,
                    documents=documents,
                    speech=speech,
                    speech_files=files,
                    songs=songs,
                    script_writer=script_writer,
                    expressions=expressions,
                    analyses=analyses,
                    webhooks=webhooks,
                    providers=registry,
                ),
            )
        )


def _open_pool(settings: MediaSettings) -> AbstractAsyncContextManager[Pool]:
    return open_postgres(
        settings.database_url,
        size=settings.database_pool,
        statements=settings.database_statements,
        migrations=MIGRATIONS,
        schema=SCHEMA,
        unit_of_work=True,
        shared=[JOBS_MIGRATIONS],
        # pgvector.
        extensions=["vector"],
    )


async def _open_processes(stack: AsyncExitStack, settings: MediaSettings) -> tuple[WorkerProcesses, WorkerProcesses]:
    """The processes that make and measure, and one for a brief look at a file."""
    limits = _worker_limits(settings)
    workers = await stack.enter_async_context(open_workers((), size=settings.media_processes, limits=limits))
    brief = dataclasses.replace(limits, seconds=BRIEF_SECONDS)
    return workers, await stack.enter_async_context(open_workers((), size=1, limits=brief))


def _worker_limits(settings: MediaSettings) -> WorkerLimits:
    return WorkerLimits(
        seconds=settings.media_process_seconds,
        memory_bytes=settings.media_process_bytes,
        niceness=NICENESS,
        wait_seconds=None,
    )


async def _open_assets(
    stack: AsyncExitStack, settings: MediaSettings, kernel: Kernel, pool: Pool
) -> tuple[Assets, AssetRows]:
    """The files, and what takes away those that nobody needs."""
    objects = await stack.enter_async_context(open_objects(settings.objects_url, settings.data_dir))
    rows = PostgresAssets(pool)
    every, orphan = settings.asset_sweep_seconds, settings.asset_orphan_seconds
    sweep = AssetSweep(objects, rows, every_seconds=every, orphan_seconds=orphan)
    stack.push_async_callback(end, kernel.tasks.spawn(sweep.run(), "sweep-assets"))
    return Assets(objects, rows, _asset_bounds(settings)), rows


def _asset_bounds(settings: MediaSettings) -> AssetBounds:
    keep = timedelta(days=settings.upload_days) if settings.upload_days else None
    return AssetBounds(settings.max_asset_bytes, settings.organization_asset_bytes, keep)


@asynccontextmanager
async def open_speech(
    settings: MediaSettings, kernel: Kernel, pool: Pool, assets: Assets, registry: ProviderRegistry
) -> AsyncIterator[tuple[Speech, SpeechFiles]]:
    """What speaks, and what makes files of it."""
    running = RunningSpeech()
    signals = [
        on_signal(ANSWER_STOP, running.on_stop),
        on_signal(ANSWER_READ, running.on_read),
        on_signal(ANSWER_ATTACH, running.on_attach),
    ]
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(kernel.read_live(f"speech:{settings.instance}", signals))
        objects = await stack.enter_async_context(open_objects(settings.objects_url, settings.data_dir))
        speakers = await stack.enter_async_context(open_workers((SPEAKER,), size=1, limits=SPEAKER_LIMITS))
        providers = await stack.enter_async_context(open_speech_providers(settings, registry, speakers))
        kept = KeptObjects(
            objects,
            pool,
            keep_seconds=settings.speech_keep_days * 86_400,
            org_bytes=settings.speech_kept_bytes,
        )
        stack.push_async_callback(end, kernel.tasks.spawn(kept.run(), "sweep-speech"))
        works = SoundWorkers(settings.speech_workers)
        stack.push_async_callback(works.close)
        synthesis = Synthesis(kept, RedisLeases(kernel.redis))
        stack.push_async_callback(synthesis.close)
        speaking = Speaking(synthesis, kept, works)
        stack.push_async_callback(speaking.close)
        speech = Speech(
            log=kernel.log,
            live=kernel.live,
            voices=Voices(voice_table(), ResourceVoices(Requester(kernel.log, reader))),
            providers=providers,
            speaking=speaking,
            running=running,
            claims=SpeechClaims(kernel.live, reader.mailbox),
            seconds=settings.speech_seconds,
        )
        files = SpeechFiles(speech, kept, assets, settings.data_dir / f"{SCHEMA}-scratch" / settings.instance)
        stack.push_async_callback(files.close)
        yield speech, files


@asynccontextmanager
async def _open_webhooks(
    settings: MediaSettings, kernel: Kernel, pool: Pool, outbox: OutboxPublisher
) -> AsyncIterator[Webhooks]:
    """Endpoints and deliveries, with the sender at work."""
    store = PostgresWebhooks(pool)
    secrets = settings.secret_box()

    async def committed(event: Event[Any], facts: Sequence[Payload]) -> None:
        outbox.wake()

    def tables(work: UnitOfWork[WebhookTables]) -> WebhookTables:
        return PostgresWebhookTables(work.connection, work.org_id)

    async with open_guarded_http(AddressRules(allow=networks(settings.webhook_networks))) as http:
        limits = SenderLimits(
            at_once=settings.webhook_requests, seconds=settings.webhook_seconds, delays=settings.delays()
        )
        sender = WebhookSender(store, http, secrets, limits)
        tasks = [
            kernel.tasks.spawn(sender.run(), "send-webhooks"),
            kernel.tasks.spawn(_forget_deliveries(store, settings.webhook_log_days), "forget-deliveries"),
        ]
        try:
            units = UnitsOfWork(pool, SCHEMA, tables=tables, committed=committed)
            yield Webhooks(units=units, store=store, http=http, secrets=secrets, sender=sender)
        finally:
            await end(*tasks)


async def _forget_deliveries(store: PostgresWebhooks, days: float) -> None:
    while True:
        with suppress(StoreUnavailableError):
            await store.prune(days)
        await asyncio.sleep(PRUNE_WEBHOOKS_SECONDS)


def _kinds(settings: MediaSettings) -> Kinds[Deps]:
    """The kinds, with as many jobs of each at work and as long kept as the settings say."""
    most = {
        "video": settings.video_jobs,
        "expressions": settings.expression_jobs,
        SPEECH_KIND: settings.speech_jobs,
        ANALYSIS_KIND: settings.analysis_jobs,
        DOCUMENT_KIND: settings.document_jobs,
    }
    keep = settings.job_days * DAY_SECONDS

    def of(spec: JobSpec[Any, Any]) -> JobSpec[Any, Any]:
        return dataclasses.replace(spec, concurrency=most.get(spec.kind, spec.concurrency), keep_seconds=keep)

    return tuple(dataclasses.replace(each, spec=of(each.spec)) for each in KINDS)


def wrong_folder(settings: MediaSettings) -> Iterator[str]:
    """A line where the folder of files cannot be written."""
    return wrong_directory(settings.objects_url, settings.data_dir)


def build(settings: MediaSettings) -> Service[MediaSettings, Deps]:
    return Service("media", settings, deps=open_deps, consumes=HANDLERS)

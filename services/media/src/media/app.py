"""Composition root: which adapters media runs on."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.bus.outbox import OutboxPublisher
from common.jobs.job_spec import DAY_SECONDS, JobSpec, Kinds
from common.jobs.open_jobs import JOBS_MIGRATIONS, JobsOf, open_jobs
from common.kernel.service import Kernel, Service
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerLimits, open_workers
from common.providers.addresses import AddressRules, networks
from common.providers.guarded_http import open_guarded_http
from common.providers.provider_registry import ProviderRegistry
from common.storage.database_watch import DatabaseWatch
from common.storage.objects import open_objects
from common.storage.postgres import Pool, open_postgres
from media.adapters.expression_lab import open_expression_lab
from media.adapters.postgres_assets import PostgresAssets
from media.adapters.video_studio import open_video_studio
from media.assets.asset_store import AssetBounds, Assets
from media.assets.asset_sweep import AssetSweep
from media.deps import Deps
from media.handlers import HANDLERS
from media.kinds import KINDS
from media.ports import AssetRows
from media.settings import MediaSettings

SCHEMA = "media"
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Voice turns on the same machine go first, whatever is rendered. With 19 it would get a hundredth of a busy core, and
# jobs would end by their deadlines.
NICENESS = 10
# For a look at a file: some seconds at most, whatever it is.
BRIEF_SECONDS = 30.0


@asynccontextmanager
async def open_deps(settings: MediaSettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated, the assets, the providers, and the runner of jobs."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_postgres(
                settings.database_url,
                size=settings.database_pool,
                migrations=MIGRATIONS,
                schema=SCHEMA,
                unit_of_work=True,
                shared=[JOBS_MIGRATIONS],
            )
        )
        outbox = OutboxPublisher(pool, kernel.log, SCHEMA)
        tasks = [
            kernel.tasks.spawn(watch.run(pool), "watch-database"),
            kernel.tasks.spawn(outbox.run(), "publish-outbox"),
        ]
        stack.push_async_callback(end, *tasks)
        limits = WorkerLimits(
            seconds=settings.media_process_seconds,
            memory_bytes=settings.media_process_bytes,
            niceness=NICENESS,
            wait_seconds=None,
        )
        workers = await stack.enter_async_context(open_workers((), size=settings.media_processes, limits=limits))
        brief_limits = dataclasses.replace(limits, seconds=BRIEF_SECONDS)
        brief = await stack.enter_async_context(open_workers((), size=1, limits=brief_limits))
        registry = ProviderRegistry()
        rules = AddressRules(allow=networks(settings.media_networks))
        public = await stack.enter_async_context(open_guarded_http(rules))
        video = await stack.enter_async_context(open_video_studio(settings, registry, public))
        expressions = await stack.enter_async_context(open_expression_lab(settings, registry, public))
        assets, rows = await _open_assets(stack, settings, kernel, pool)

        async def discard(org_id: str, job_id: str) -> None:
            await assets.delete_of_job(org_id, job_id)

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
                    expressions=expressions,
                ),
            )
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


def _kinds(settings: MediaSettings) -> Kinds[Deps]:
    """The kinds, with as many jobs of each at work and as long kept as the settings say."""
    most = {"video": settings.video_jobs, "expressions": settings.expression_jobs}
    keep = settings.job_days * DAY_SECONDS

    def of(spec: JobSpec[Any, Any]) -> JobSpec[Any, Any]:
        return dataclasses.replace(spec, concurrency=most.get(spec.kind, spec.concurrency), keep_seconds=keep)

    return tuple(dataclasses.replace(each, spec=of(each.spec)) for each in KINDS)


def build(settings: MediaSettings) -> Service[MediaSettings, Deps]:
    return Service("media", settings, deps=open_deps, consumes=HANDLERS)

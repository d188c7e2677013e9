"""Composition root: which adapters telemetry runs on."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from common.bus.outbox import OutboxPublisher
from common.events.envelope import Event
from common.events.interaction_exports import EXPORT_FILES
from common.events.spec import Payload
from common.jobs.job_spec import Kinds, kind
from common.jobs.open_jobs import JOBS_MIGRATIONS, JobsOf, open_jobs
from common.kernel.service import Kernel, Service
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerLimits, WorkerProcesses, open_workers
from common.storage.command_answers import prune_answers
from common.storage.database_watch import DatabaseWatch
from common.storage.objects import object_key, open_objects, wrong_directory
from common.storage.postgres import Pool, open_postgres
from common.storage.unit_of_work import UnitsOfWork
from telemetry import kept_sessions
from telemetry.adapters.export_tables import PostgresExports
from telemetry.adapters.interaction_session_tables import PostgresInteractionSessions
from telemetry.adapters.interaction_tables import PostgresInteractions
from telemetry.adapters.ledger_tables import PostgresLedger
from telemetry.adapters.partitions import Partitions
from telemetry.adapters.policy_tables import PostgresPolicies, PostgresPolicyWrites
from telemetry.adapters.retention_tables import PostgresRetention
from telemetry.adapters.session_tables import PostgresSessions
from telemetry.adapters.usage_table import PostgresUsage
from telemetry.deps import Deps
from telemetry.exports.export_job import EXPORT, export
from telemetry.handlers import HANDLERS
from telemetry.interactions import hourly_ledger
from telemetry.interactions.batch_opening import Openings
from telemetry.interactions.terms import TermsOf
from telemetry.policies import retention_sweep
from telemetry.ports import PolicyWrites
from telemetry.settings import TelemetrySettings

SCHEMA = "telemetry"
# A turn is stored at most this much later, and a query waits at most this much longer.
GATHER_SECONDS = 0.025
# A change is asked for again within seconds, if at all.
ANSWERS_SECONDS = 86_400
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
KINDS: Kinds[Deps] = (kind(EXPORT, export),)
# What converts an export: everybody else goes first, and it holds a page of rows, not the file.
CONVERSION = WorkerLimits(seconds=3600.0, memory_bytes=1024 * 1024 * 1024, niceness=10, wait_seconds=None)


@asynccontextmanager
async def open_deps(settings: TelemetrySettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated, and the runner of exports; readiness complains about the database from the start."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_postgres(
                settings.database_url,
                size=settings.database_pool,
                statements=settings.database_statements,
                migrations=MIGRATIONS,
                schema=SCHEMA,
                unit_of_work=True,
                shared=[JOBS_MIGRATIONS],
            )
        )
        watching = kernel.tasks.spawn(watch.run(pool), "watch-database")
        outbox = OutboxPublisher(pool, kernel.log, SCHEMA)
        publishing = kernel.tasks.spawn(outbox.run(), "publish-outbox")
        pruning = kernel.tasks.spawn(prune_answers(pool, SCHEMA, ANSWERS_SECONDS), "prune-answers")
        stack.push_async_callback(end, watching, publishing, pruning)
        workers = await stack.enter_async_context(open_workers((), size=1, limits=CONVERSION))

        async def committed(event: Event[Any], facts: Sequence[Payload]) -> None:
            outbox.wake()

        changes = UnitsOfWork(pool, SCHEMA, tables=PostgresPolicyWrites, committed=committed)
        yield await stack.enter_async_context(_open_stores(settings, kernel, pool, workers, changes))


@asynccontextmanager
async def _open_stores(
    settings: TelemetrySettings,
    kernel: Kernel,
    pool: Pool,
    workers: WorkerProcesses,
    changes: UnitsOfWork[PolicyWrites],
) -> AsyncIterator[Deps]:
    partitions, box = Partitions(pool), settings.secret_box()
    interactions, openings = PostgresInteractions(pool, partitions), Openings(box)
    policies, book = PostgresPolicies(pool), PostgresLedger(pool)
    terms, retention = TermsOf(policies, settings, box), PostgresRetention(pool, partitions)
    sessions = PostgresSessions(
        pool,
        days=settings.session_days,
        session_bytes=settings.session_bytes,
        organization_sessions=settings.organization_sessions,
    )
    chores = [
        kernel.tasks.spawn(kept_sessions.sweep(sessions), "expire-sessions"),
        kernel.tasks.spawn(retention_sweep.run(retention, terms, settings), "sweep-retention"),
        kernel.tasks.spawn(retention_sweep.delete_users(retention, terms), "delete-users"),
        kernel.tasks.spawn(hourly_ledger.watch(book), "watch-ledger"),
    ]
    async with open_objects(settings.objects_url, settings.data_dir) as objects:

        async def discard(org_id: str, job_id: str) -> None:
            await objects.delete(object_key(EXPORT_FILES, org_id, job_id))

        jobs = JobsOf(kinds=KINDS, schema=SCHEMA, workers=workers, brief=workers, discard=discard)
        try:
            async with open_jobs(
                kernel,
                pool,
                jobs,
                lambda desk: Deps(
                    settings=settings,
                    usage=PostgresUsage(pool),
                    sessions=sessions,
                    owed=kept_sessions.Owed(),
                    interactions=interactions,
                    terms=terms,
                    openings=openings,
                    interaction_sessions=PostgresInteractionSessions(pool),
                    ledger=book,
                    policies=policies,
                    changes=changes,
                    retention=retention,
                    exports=PostgresExports(pool),
                    objects=objects,
                    desk=desk,
                ),
            ) as deps:
                yield deps
        finally:
            await end(*chores)
            openings.close()
            await interactions.close()
            await sessions.close()


def wrong_folder(settings: TelemetrySettings) -> Iterator[str]:
    """A line where the folder of files cannot be written."""
    return wrong_directory(settings.objects_url, settings.data_dir)


def build(settings: TelemetrySettings) -> Service[TelemetrySettings, Deps]:
    return Service("telemetry", settings, deps=open_deps, consumes=HANDLERS, gather_seconds=GATHER_SECONDS)

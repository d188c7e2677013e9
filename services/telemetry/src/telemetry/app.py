"""Composition root: which adapters telemetry runs on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.kernel.service import Kernel, Service
from common.kernel.tasks import end
from common.storage.database_watch import DatabaseWatch
from common.storage.postgres import open_postgres
from telemetry import kept_sessions
from telemetry.adapters.interaction_session_tables import PostgresInteractionSessions
from telemetry.adapters.interaction_tables import PostgresInteractions
from telemetry.adapters.ledger_tables import PostgresLedger
from telemetry.adapters.partitions import Partitions
from telemetry.adapters.policy_tables import PostgresPolicies
from telemetry.adapters.retention_tables import PostgresRetention
from telemetry.adapters.session_tables import PostgresSessions
from telemetry.adapters.turns_table import PostgresTurns, PostgresUsage
from telemetry.deps import Deps
from telemetry.handlers import HANDLERS
from telemetry.interactions import hourly_ledger
from telemetry.interactions.batch_opening import Openings
from telemetry.interactions.terms import TermsOf
from telemetry.policies import retention_sweep
from telemetry.settings import TelemetrySettings

# A turn is stored at most this much later, and a query waits at most this much longer.
GATHER_SECONDS = 0.025
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@asynccontextmanager
async def open_deps(settings: TelemetrySettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated; readiness complains about it from the first moment on."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with open_postgres(
        settings.database_url,
        size=settings.database_pool,
        statements=settings.database_statements,
        migrations=MIGRATIONS,
        schema="telemetry",
    ) as pool:
        watching = kernel.tasks.spawn(watch.run(pool), "watch-database")
        turns, partitions, box = PostgresTurns(pool), Partitions(pool), settings.secret_box()
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
            watching,
            kernel.tasks.spawn(kept_sessions.sweep(sessions), "expire-sessions"),
            kernel.tasks.spawn(retention_sweep.run(retention, terms, settings), "sweep-retention"),
            kernel.tasks.spawn(retention_sweep.delete_users(retention, terms), "delete-users"),
            kernel.tasks.spawn(hourly_ledger.watch(book), "watch-ledger"),
        ]
        try:
            yield Deps(
                settings=settings,
                turns=turns,
                usage=PostgresUsage(pool),
                sessions=sessions,
                owed=kept_sessions.Owed(),
                interactions=interactions,
                terms=terms,
                openings=openings,
                interaction_sessions=PostgresInteractionSessions(pool),
                ledger=book,
                policies=policies,
                retention=retention,
            )
        finally:
            await end(*chores)
            openings.close()
            await interactions.close()
            await turns.close()
            await sessions.close()


def build(settings: TelemetrySettings) -> Service[TelemetrySettings, Deps]:
    return Service("telemetry", settings, deps=open_deps, consumes=HANDLERS, gather_seconds=GATHER_SECONDS)

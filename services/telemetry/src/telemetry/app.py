"""Composition root: which adapters telemetry runs on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.kernel.service import Kernel, Service
from common.storage.database_watch import DatabaseWatch
from common.storage.postgres import open_postgres
from telemetry import kept_sessions
from telemetry.adapters.session_tables import PostgresSessions
from telemetry.adapters.turns_table import PostgresTurns, PostgresUsage
from telemetry.deps import Deps
from telemetry.handlers import HANDLERS
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
        settings.database_url, size=settings.database_pool, migrations=MIGRATIONS, schema="telemetry"
    ) as pool:
        watching = kernel.tasks.spawn(watch.run(pool), "watch-database")
        turns = PostgresTurns(pool)
        sessions = PostgresSessions(
            pool,
            days=settings.session_days,
            session_bytes=settings.session_bytes,
            organization_sessions=settings.organization_sessions,
        )
        sweeping = kernel.tasks.spawn(kept_sessions.sweep(sessions), "expire-sessions")
        try:
            yield Deps(settings, turns, PostgresUsage(pool), sessions)
        finally:
            watching.cancel()
            sweeping.cancel()
            await turns.close()
            await sessions.close()


def build(settings: TelemetrySettings) -> Service[TelemetrySettings, Deps]:
    return Service("telemetry", settings, deps=open_deps, consumes=HANDLERS, gather_seconds=GATHER_SECONDS)

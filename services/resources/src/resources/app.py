"""Composition root: which adapters resources runs on."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from common.bus.outbox import OutboxPublisher
from common.events.envelope import Event
from common.events.spec import Payload
from common.kernel.service import Kernel, Service
from common.kernel.worker_processes import open_workers
from common.providers.provider_registry import ProviderRegistry
from common.storage.command_answers import prune_answers
from common.storage.database_watch import DatabaseWatch
from common.storage.postgres import open_postgres
from common.storage.resp import Resp
from common.storage.unit_of_work import UnitsOfWork
from resources.active.cache_writer import CACHE_SECONDS, CacheWriter
from resources.active.freshness import Freshness
from resources.active.restores import Restores
from resources.adapters.hume.account import SETTING, AccountsError, accounts_of, open_hume
from resources.adapters.hume.catalogue import HumeCatalogue
from resources.adapters.openai_drafts import open_drafting_model
from resources.adapters.postgres.lineage_table import PostgresLineage
from resources.adapters.postgres.local_catalogue import LocalCatalogue
from resources.adapters.postgres.provider_copy import PostgresCopy
from resources.adapters.postgres.store import PostgresStore, write_tables
from resources.dear_work import MODULES
from resources.deps import Catalogues, Deps
from resources.drafting.drafting import Drafting
from resources.handlers import HANDLERS
from resources.hume.tokens import Tokens
from resources.metrics import RESOURCE_WRITES
from resources.settings import ResourcesSettings

SCHEMA = "resources"
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@asynccontextmanager
async def open_deps(settings: ResourcesSettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated, the cache, the providers, and the publisher of what is committed."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with open_postgres(
        settings.database_url,
        size=settings.database_pool,
        statements=settings.database_statements,
        migrations=MIGRATIONS,
        schema=SCHEMA,
        unit_of_work=True,
    ) as pool:
        store = PostgresStore(pool)
        providers = ProviderRegistry()
        async with (
            open_hume(settings, store, PostgresCopy(pool, HumeCatalogue.name), Tokens, providers) as hume,
            open_drafting_model(settings) as model,
            open_workers(MODULES) as workers,
        ):
            drafting = Drafting(model, settings.draft_seconds)
            outbox = OutboxPublisher(pool, kernel.log, SCHEMA)
            tasks = [
                kernel.tasks.spawn(watch.run(pool), "watch-database"),
                kernel.tasks.spawn(outbox.run(), "publish-outbox"),
                kernel.tasks.spawn(prune_answers(pool, SCHEMA, settings.resource_answers_seconds), "prune-answers"),
            ]
            catalogues = Catalogues(LocalCatalogue(store), hume.catalogues)
            resp = Resp(settings.redis_url, timeout=CACHE_SECONDS)
            fresh_seconds = settings.resource_cache_seconds
            freshness = Freshness(catalogues.of, fresh_seconds=fresh_seconds)
            restores = Restores(PostgresLineage(pool), kernel.redis)
            await restores.settle()
            tasks.append(kernel.tasks.spawn(restores.watch(), "watch-restores"))
            cache = CacheWriter(store, freshness, resp, fresh_seconds=fresh_seconds)

            async def committed(event: Event[Any], facts: Sequence[Payload]) -> None:
                """What other processes read is brought up to the change before its command is answered."""
                RESOURCE_WRITES.labels(event.spec.type).inc()
                outbox.wake()
                await cache.apply(facts)

            units = UnitsOfWork(pool, SCHEMA, tables=write_tables, committed=committed)
            try:
                yield Deps(store, units, catalogues, cache, drafting, hume.of, workers, providers)
            finally:
                resp.close()
                for task in tasks:
                    task.cancel()
                await drafting.close()


def wrong_accounts(settings: ResourcesSettings) -> Iterator[str]:
    """A line where the accounts that the settings name at the provider contradict each other."""
    try:
        accounts_of(settings)
    except AccountsError as error:
        yield f"{SETTING}: {str(error).removeprefix(SETTING).lstrip(': ')}"


def build(settings: ResourcesSettings) -> Service[ResourcesSettings, Deps]:
    return Service("resources", settings, deps=open_deps, consumes=HANDLERS)

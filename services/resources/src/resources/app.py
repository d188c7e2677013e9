"""Composition root: which adapters resources runs on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.bus.outbox import Relay
from common.kernel.service import Kernel, Service
from common.storage.postgres import open_postgres
from common.storage.resp import Resp
from common.storage.watch import DatabaseWatch
from resources.adapters.hume_account import open_hume
from resources.adapters.openai_drafts import open_drafting
from resources.adapters.postgres import LocalCatalogue
from resources.deps import Catalogues, Deps
from resources.handlers import HANDLERS
from resources.look_ups import LookUps
from resources.pruning import prune_answers
from resources.resolver import CACHE_SECONDS, Resolver
from resources.settings import ResourcesSettings
from resources.work import Works

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@asynccontextmanager
async def open_deps(settings: ResourcesSettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """The database, migrated, and the relay of what is committed there."""
    watch = DatabaseWatch()
    kernel.health.watch("database", watch.complaint)
    async with (
        open_postgres(
            settings.database_url, size=settings.database_pool, migrations=MIGRATIONS, schema="resources"
        ) as pool,
        open_hume(settings, pool) as hume,
        open_drafting(settings) as drafting,
    ):
        relay = Relay(pool, kernel.log, "resources.outbox")
        tasks = [
            kernel.tasks.spawn(watch.run(pool), "watch-database"),
            kernel.tasks.spawn(relay.run(), "relay-outbox"),
            kernel.tasks.spawn(prune_answers(pool, settings.resource_answers_seconds), "prune-answers"),
        ]
        catalogues = Catalogues(LocalCatalogue(pool), hume.catalogues)
        cache = Resp(settings.redis_url, timeout=CACHE_SECONDS)
        look_ups = LookUps(catalogues.of, fresh_seconds=settings.resource_cache_seconds)
        resolver = Resolver(pool, look_ups, cache, fresh_seconds=settings.resource_cache_seconds)
        works = Works(pool, relay.wake, resolver.apply)
        try:
            yield Deps(settings, pool, works, catalogues, resolver, drafting, hume.of)
        finally:
            cache.close()
            for task in tasks:
                task.cancel()


def build(settings: ResourcesSettings) -> Service[ResourcesSettings, Deps]:
    return Service("resources", settings, deps=open_deps, consumes=HANDLERS)

"""Composition root of the gateway."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from common.bus.live.kept_bodies import open_kept_bodies
from common.bus.live.signals import SignalHandler, on_signal
from common.bus.live.writer import LiveWriter
from common.bus.request_reply import Requester
from common.clients.resources.client import open_resource_client
from common.events.chat import ANSWER_ABANDONED, SESSION_INTERRUPT
from common.events.keys import KEY_CHANGED, KeyChanged
from common.kernel.listening import wrong_address
from common.kernel.presence import Presence
from common.kernel.service import Kernel, Service
from common.kernel.settings import port_to_try
from common.secret_box import secret_keys
from common.storage.database_watch import DatabaseWatch
from common.storage.key_budgets import KeyBudgets
from common.storage.objects import open_objects, wrong_directory
from common.storage.postgres import open_postgres
from common.storage.resp import open_resp
from gateway.adapters.live_answers import LiveAnswers
from gateway.adapters.postgres_keys import PostgresKeys
from gateway.adapters.redis_glances import RedisGlances
from gateway.adapters.redis_idempotency import RedisIdempotency
from gateway.adapters.redis_limits import RedisLimits
from gateway.adapters.redis_quota import RedisQuota
from gateway.adapters.redis_replays import RedisReplays
from gateway.assets.signed_links import SignedLinks
from gateway.chat.model_list import KnownModels
from gateway.chat.open_streams import OpenStreams
from gateway.chat.revocation import Revocation
from gateway.chat.streams import Streams
from gateway.chat.usage_settlement import UsageSettlement
from gateway.deps import DEPS, Deps
from gateway.http import boundary, cors
from gateway.http.budgets import Budgets
from gateway.http.connections import ConnectionBounds, max_open, raise_descriptor_limit
from gateway.http.docs_page import docs_routes
from gateway.http.idempotency import Idempotency
from gateway.http.large_bodies import LargeBodies
from gateway.http.limits import Limits
from gateway.http.log_quota import LogQuota
from gateway.http.openapi import document
from gateway.http.readiness import public_health_routes
from gateway.http.refusal_pacing import PACING, RefusalPacing
from gateway.http.request_reply import RequestReply
from gateway.http.routing import add_routes
from gateway.http.server import Runner
from gateway.http.work_bounds import WorkBounds
from gateway.ingest.intake import open_intake
from gateway.keys.first_admin import ensure_admin
from gateway.keys.keyring import keeper
from gateway.media.job_watch import JobWatch
from gateway.ports import Work
from gateway.routes import ROUTES
from gateway.settings import GatewaySettings
from gateway.webhooks.replays import Replays

MIGRATIONS = Path(__file__).parents[2] / "migrations"
# Header bombs end here with a 400; real clients stay far below.
MAX_HEADER_LINE = 16 * 1024
MAX_REQUEST_LINE = 8 * 1024


@asynccontextmanager
async def open_deps(settings: GatewaySettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """Everything a view needs; the live mailbox is open before the first request can be published."""
    async with (
        open_postgres(
            settings.database_url,
            size=settings.database_pool,
            statements=settings.database_statements,
            migrations=MIGRATIONS,
            schema="gateway",
        ) as pool,
        keeper(store := PostgresKeys(pool), partial(_announce, kernel.live), kernel.tasks) as keys,
        open_resp(settings.redis_url) as counting,
    ):
        kernel.tasks.spawn(DatabaseWatch().run(pool), "watch-database")
        opened = OpenStreams()
        keys.on_change(Revocation(keys.live, opened, kernel.tasks).on_changed)
        signals = [on_signal(KEY_CHANGED, lambda changed: keys.changed(changed.key_id)), *_answer_signals(opened)]
        async with kernel.read_live(f"gateway:{settings.instance}", signals) as reader:
            presence = _watched_presence(kernel)
            requester = Requester(kernel.log, reader, presence.require)
            if settings.admin_key_file is not None:
                await ensure_admin(store, settings.admin_key_file)
            limits = Limits(RedisLimits(counting))
            streams = Streams(kernel.live, reader, LiveAnswers(kernel.live), opened)
            idempotency = _idempotency(settings, kernel)
            quota = LogQuota(RedisQuota(counting), settings.log_bytes_per_minute)
            async with (
                open_resource_client(settings.redis_url, requester) as resources,
                open_kept_bodies(settings.redis_url) as kept_bodies,
                open_objects(settings.objects_url, settings.data_dir) as objects,
                aclosing(UsageSettlement(limits, streams, kernel.tasks)) as settlement,
                open_intake(kernel.log, quota, kernel.tasks, settings) as acceptance,
            ):
                yield Deps(
                    settings=settings,
                    log=kernel.log,
                    tasks=kernel.tasks,
                    request_reply=RequestReply(requester, idempotency, quota),
                    idempotency=idempotency,
                    limits=limits,
                    budgets=Budgets(KeyBudgets(counting)),
                    quota=quota,
                    large_bodies=LargeBodies(settings.large_bodies, quota),
                    presence=presence,
                    keys=keys,
                    streams=streams,
                    kept_bodies=kept_bodies,
                    settlement=settlement,
                    models=KnownModels(requester, kernel.tasks),
                    resources=resources,
                    replays=Replays(RedisReplays(kernel.redis)),
                    acceptance=acceptance,
                    jobs=_job_watch(kernel),
                    live=kernel.live,
                    secrets=settings.secret_box(),
                    objects=objects,
                    uploads=LargeBodies(settings.max_uploads),
                    links=SignedLinks(secret_keys(settings.secret_keys.get_secret_value())),
                )


def _watched_presence(kernel: Kernel) -> Presence:
    presence = Presence(kernel.redis)
    kernel.tasks.spawn(presence.run(), "watch-presence")
    kernel.health.tell("services", presence.details)
    return presence


def _answer_signals(opened: OpenStreams) -> list[SignalHandler]:
    return [
        on_signal(SESSION_INTERRUPT, opened.on_interrupt),
        on_signal(ANSWER_ABANDONED, opened.on_abandoned),
    ]


def _idempotency(settings: GatewaySettings, kernel: Kernel) -> Idempotency:
    most = settings.idempotent_answers
    return Idempotency(RedisIdempotency(kernel.redis, answers=most, max_bytes=settings.idempotent_bytes))


def _job_watch(kernel: Kernel) -> JobWatch:
    jobs = JobWatch(RedisGlances(kernel.redis))
    kernel.tasks.spawn(jobs.run(), "watch-jobs")
    return jobs


async def _announce(live: LiveWriter, key_id: str) -> None:
    await live.signal(KEY_CHANGED, KeyChanged(key_id=key_id))


def build_app(kernel: Kernel, deps: Deps) -> web.Application:
    """The public application."""
    app = web.Application(client_max_size=deps.settings.max_body_bytes)
    boundary.install(app)
    cors.install(app, deps.settings.origins)
    app[DEPS] = deps
    app[PACING] = RefusalPacing(deps.settings.refusals_per_second)
    settings = deps.settings
    bounds = {
        Work.ANSWER: settings.organization_answers,
        Work.DRAFT: settings.organization_drafts,
        Work.WRITE: settings.organization_writes,
        Work.INGEST: settings.organization_ingests,
        Work.READ: settings.organization_reads,
        Work.UPLOAD: settings.organization_uploads,
        Work.DELIVERY: settings.webhook_deliveries,
    }
    add_routes(app, ROUTES, deps.keys.identify, WorkBounds(deps.limits, bounds))
    app.add_routes(docs_routes(document(ROUTES), files("common.events").joinpath("asyncapi.json").read_bytes()))
    app.add_routes(public_health_routes(kernel.health, metrics=settings.public_metrics))
    return app


@asynccontextmanager
async def serve(settings: GatewaySettings, kernel: Kernel, deps: Deps) -> AsyncIterator[None]:
    """Listen; on leaving no new connection is taken, and open answers get the drain budget."""
    descriptors = raise_descriptor_limit()
    runner = Runner(
        build_app(kernel, deps),
        bounds=ConnectionBounds(
            head_seconds=settings.head_seconds,
            idle_seconds=settings.idle_connection_seconds,
            write_seconds=settings.write_seconds,
            max_open=max_open(settings.max_connections, descriptors),
            max_per_address=settings.max_connections_per_address,
            max_unsent=settings.unsent_bytes,
        ),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=settings.drain_seconds,
        max_line_size=MAX_REQUEST_LINE,
        max_field_size=MAX_HEADER_LINE,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()


def wrong_surroundings(settings: GatewaySettings) -> Iterator[str]:
    """A line for the public address that cannot be listened on, and for the folder of files that cannot be written."""
    port = port_to_try(settings.port)
    yield from wrong_address(settings.host, port, host_variable="SONANT_HOST", port_variable="SONANT_PORT")
    yield from wrong_directory(settings.objects_url, settings.data_dir)


def build(settings: GatewaySettings) -> Service[GatewaySettings, Deps]:
    """The service, ready to run."""
    return Service("gateway", settings, deps=open_deps, serves=serve)

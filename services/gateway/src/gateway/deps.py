"""What views work with, in one typed place on the application."""

from dataclasses import dataclass

from aiohttp import web

from common.bus.live.kept_bodies import KeptBodies
from common.bus.port import Log
from common.clients.resources.client import ResourceClient
from common.kernel.presence import Presence
from common.kernel.tasks import Tasks
from common.secret_box import SecretBox
from gateway.chat.model_list import KnownModels
from gateway.chat.streams import Streams
from gateway.chat.usage_settlement import UsageSettlement
from gateway.http.budgets import Budgets
from gateway.http.idempotency import Idempotency
from gateway.http.large_bodies import LargeBodies
from gateway.http.limits import Limits
from gateway.http.log_quota import LogQuota
from gateway.http.request_reply import RequestReply
from gateway.ingest.acceptance import Acceptance
from gateway.keys.keyring import Keys
from gateway.settings import GatewaySettings
from gateway.webhooks.replays import Replays


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything a view may need."""

    settings: GatewaySettings
    log: Log
    tasks: Tasks
    request_reply: RequestReply
    idempotency: Idempotency
    limits: Limits
    budgets: Budgets
    quota: LogQuota
    large_bodies: LargeBodies
    presence: Presence
    keys: Keys
    streams: Streams
    kept_bodies: KeptBodies
    settlement: UsageSettlement
    models: KnownModels
    resources: ResourceClient
    replays: Replays
    acceptance: Acceptance
    secrets: SecretBox


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)

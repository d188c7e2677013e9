"""What views work with, in one typed place on the application."""

from dataclasses import dataclass

from aiohttp import web

from common.bus.request_reply import Requester
from common.clients.resources.client import ResourceClient
from common.kernel.service import Kernel
from gateway.books import Books
from gateway.idempotency import Idempotency
from gateway.keys import Keys
from gateway.limits import Limits
from gateway.models import Models
from gateway.settings import GatewaySettings
from gateway.streams import Streams
from gateway.webhooks import Replays


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a view may need."""

    settings: GatewaySettings
    kernel: Kernel
    streams: Streams
    asker: Requester
    keys: Keys
    limits: Limits
    books: Books
    idempotency: Idempotency
    models: Models
    resources: ResourceClient
    replays: Replays


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)

"""What views work with, in one typed place on the application."""

from dataclasses import dataclass

from aiohttp import web

from common.bus.request_reply import Requester
from common.clients.resources.client import Reader
from common.kernel.service import Kernel
from gateway.chat.model_list import Models
from gateway.chat.streams import Streams
from gateway.chat.usage_settlement import Books
from gateway.http.idempotency import Idempotency
from gateway.http.limits import Limits
from gateway.keys.keyring import Keys
from gateway.settings import GatewaySettings
from gateway.webhooks.signature import Replays


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
    resources: Reader
    replays: Replays


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)

"""Providers: how the accounts at outside systems are doing, asked of the services that call them."""

from datetime import date
from typing import Literal

from common.events.media_topics import MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.resources import RESOURCE_QUERIES
from common.events.spec import Payload, RequestSpec, Topic, query


class ProvidersRequested(Payload):
    """How the providers are doing whose accounts this organisation uses."""

    org_id: str


class ProviderFailure(ReplyBody):
    """The last failure that was the provider's, or our account's there; `at` is unix seconds."""

    error: str
    text: str
    at: float


class ProviderHealth(ReplyBody):
    """One provider as the instance that answered sees it.

    `account` is `shared` where it is not the organisation's own. `healthy` is null before the first call. `sunset` is
    the day for which its maker announced the end.
    """

    name: str
    service: Literal["media", "resources"]
    account: Literal["own", "shared"]
    configured: bool
    healthy: bool | None
    breaker: Literal["closed", "open", "probing"]
    retry_in_seconds: float
    in_flight: int
    latency_p50_seconds: float | None
    last_error: ProviderFailure | None
    sunset: date | None


class ProviderList(ReplyBody):
    """Providers; `unreachable` are the services that did not answer in time."""

    object: Literal["list"]
    data: tuple[ProviderHealth, ...]
    unreachable: tuple[str, ...] = ()


def _asked(service: str, topic: Topic) -> RequestSpec[ProvidersRequested, ProviderList]:
    return query(
        type=f"{service}.providers.requested",
        payload=ProvidersRequested,
        reply=ProviderList,
        topic=topic,
        key=lambda query: query.org_id,
        summary=f"Answer with how the providers of {service} are doing.",
    )


MEDIA_PROVIDERS_REQUESTED = _asked("media", MEDIA_QUERIES)
RESOURCE_PROVIDERS_REQUESTED = _asked("resource", RESOURCE_QUERIES)

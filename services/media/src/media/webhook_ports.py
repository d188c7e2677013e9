"""What webhooks need from outside: tables of endpoints and deliveries, and a client for addresses of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from common.events.webhook_endpoints import DeliveryState, EndpointState, Signing
from common.providers.guarded_http import Fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint with its secrets, sealed for its organisation."""

    id: str
    org_id: str
    url: str
    description: str
    events: Sequence[str]
    state: EndpointState
    disabled_reason: str | None
    signing: Signing
    sealed_secret: str
    public_key: str | None
    sealed_old_secret: str | None
    old_public_key: str | None
    old_secret_until: datetime | None
    created_at: datetime
    rotated_at: datetime | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint.

    `attempts_made` counts all requests, `tries` those since it was last begun anew: the schedule goes by these.
    """

    id: str
    endpoint_id: str
    message_id: str
    type: str
    state: DeliveryState
    created_at: datetime
    attempts_made: int
    next_at: datetime | None
    delivered_at: datetime | None
    attempts: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A delivery that is to be sent now, and where to; `tries` were made before."""

    id: str
    message_id: str
    body: bytes
    tries: int
    endpoint: Endpoint


class WebhookCaller(Protocol):
    """A client that calls public addresses alone; raises `Refused` and `ProviderDown` as `GuardedHttp` does."""

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], seconds: float = ..., max_bytes: int = ...
    ) -> Fetched: ...


class WebhookQueue(Protocol):
    """Deliveries that are due. Every method raises StoreUnavailableError."""

    async def claim(self, room: int, per_endpoint: int, busy: Mapping[str, int], hold_seconds: float) -> Sequence[Due]:
        """At most `room` that are due, and of each endpoint no more than `per_endpoint` with its `busy` ones.

        They are due again after `hold_seconds`, unless they are settled before.
        """

    async def settle(
        self,
        due: Due,
        attempt: Mapping[str, object],
        *,
        state: DeliveryState,
        wait: float | None,
        disable: str | None,
        dead: str,
    ) -> bool:
        """Note an attempt and what becomes of the delivery, due again after `wait` seconds where it stays pending.

        `disable` is why its endpoint is switched off at once; `dead` the reason where nothing was received for days.
        Returns whether it was.
        """


class WebhookTables(Protocol):
    """Endpoints and deliveries of one organisation. Every method raises StoreUnavailableError."""

    async def endpoint(self, id: str) -> Endpoint | None: ...

    async def endpoints(self) -> Sequence[Endpoint]:
        """All, the oldest first."""

    async def insert(self, endpoint: Endpoint) -> None: ...

    async def update(self, endpoint: Endpoint) -> None:
        """Keep an endpoint as it is given."""

    async def delete(self, id: str) -> None:
        """With its deliveries."""

    async def delivery(self, id: str) -> Delivery | None: ...

    async def deliveries(
        self, *, endpoint_id: str | None, state: DeliveryState | None, after: str | None, limit: int
    ) -> Sequence[Delivery]:
        """Newest first, without their attempts."""

    async def add(self, message_id: str, type: str, body: bytes, *, named: str | None = None) -> int:
        """A delivery for each endpoint that subscribed to the type, and for the `named` one; none twice."""

    async def add_to(self, endpoint_id: str, message_id: str, type: str, body: bytes) -> str:
        """A delivery for one endpoint; its id."""

    async def begin_anew(self, delivery_id: str) -> None:
        """Due now, with a schedule of its own."""

    async def begin_failed_anew(self, endpoint_id: str, since: datetime) -> int:
        """The same for all that failed since then; how many there are."""


class WebhookStore(Protocol):
    """The tables of every organisation."""

    def of(self, org_id: str) -> WebhookTables:
        """Outside a unit of work."""

    async def public_keys(self, endpoint_id: str) -> Sequence[str] | None:
        """The keys of an endpoint that hold now, the newest first; None for an endpoint that is not there."""

"""The registry of a process, as it is shown to an organisation."""

from collections.abc import Iterable
from datetime import date
from typing import Literal

from common.events.providers import ProviderFailure, ProviderHealth, ProviderList
from common.providers.provider_registry import ProviderRegistry, ProviderStatus

# Announced by Hume in its documentation; PROVIDERS of the project says what is unsure about it.
SUNSETS = {
    "hume": date(2026, 11, 13),
    "hume-batch": date(2026, 6, 14),
}
# What policies call the account of all who have none of their own.
SHARED = frozenset({"", "-"})


def health_of(registry: ProviderRegistry, service: Literal["media", "resources"], org_id: str) -> ProviderList:
    """The providers whose accounts the organisation uses: its own one where it has one, else the shared one."""
    statuses = registry.snapshot()
    own = {status.name for status in statuses if status.account == org_id}
    return ProviderList(object="list", data=tuple(_shown(each, service) for each in _used(statuses, org_id, own)))


def _used(statuses: Iterable[ProviderStatus], org_id: str, own: set[str]) -> Iterable[ProviderStatus]:
    for status in statuses:
        if status.account == org_id or (status.account in SHARED and status.name not in own):
            yield status


def _shown(status: ProviderStatus, service: Literal["media", "resources"]) -> ProviderHealth:
    error = status.last_error
    return ProviderHealth(
        name=status.name,
        service=service,
        account="shared" if status.account in SHARED else "own",
        configured=status.configured,
        healthy=status.healthy,
        breaker=status.breaker,
        retry_in_seconds=status.retry_in_seconds,
        in_flight=status.in_flight,
        latency_p50_seconds=status.latency_p50_seconds,
        last_error=None
        if error is None
        else ProviderFailure(error=error.error, text=error.text, at=error.at.timestamp()),
        sunset=SUNSETS.get(status.name),
    )

"""The routes of providers."""

from collections.abc import Sequence

from common.events.providers import ProviderList
from gateway.http.routing import Route
from gateway.ports import Scope, Work
from gateway.providers.provider_views import list_providers

ROUTES: Sequence[Route] = [
    Route(
        "GET",
        "/v1/providers",
        list_providers,
        "How the providers are doing",
        scope=Scope.MEDIA,
        work=Work.READ,
        response=ProviderList,
        tags=("providers",),
        description="As the instances see them that answered; a service that did not is in `unreachable`.",
    )
]

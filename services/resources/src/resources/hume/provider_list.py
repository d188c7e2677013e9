"""How the providers of resources are doing."""

from common.events.envelope import Event
from common.events.providers import ProviderList, ProvidersRequested
from common.events.reply import Reply
from common.providers.provider_health import health_of
from resources.deps import Deps


async def list_providers(event: Event[ProvidersRequested], deps: Deps) -> Reply[ProviderList]:
    """200 with the accounts that the organisation uses."""
    return Reply(health_of(deps.providers, "resources", event.payload.org_id))

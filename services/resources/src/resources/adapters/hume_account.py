"""Everything about Hume, put together from the settings: its catalogue, its access tokens, and its stock to copy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.storage.postgres import Pool
from resources.adapters.hume import HumeCatalogue
from resources.adapters.hume_api import Account, hume_api, open_transport
from resources.adapters.hume_policy import Policy
from resources.adapters.hume_source import HumeSource
from resources.adapters.hume_token import HumeTokens
from resources.settings import ResourcesSettings
from resources.tokens import Tokens

# The stand-in takes any credentials and keeps an account for each key.
SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Hume:
    """What Hume offers us."""

    catalogue: HumeCatalogue
    tokens: Tokens
    source: HumeSource


@asynccontextmanager
async def open_hume(settings: ResourcesSettings, pool: Pool) -> AsyncIterator[Hume]:
    """Hume, its stand-in, or neither: then every call is refused with 503 `unconfigured`."""
    account = account_of(settings)
    policy = Policy(configured=bool(account.api_key))
    async with open_transport() as transport:
        tokens = Tokens(HumeTokens(transport, account, policy))
        api = hume_api(transport, account, policy)
        try:
            yield Hume(HumeCatalogue(pool, api), tokens, HumeSource(api))
        finally:
            await tokens.close()


def account_of(settings: ResourcesSettings) -> Account:
    """The account in the settings, or the sandbox's where there is none and it runs."""
    key, secret = settings.hume_api_key.get_secret_value(), settings.hume_secret_key.get_secret_value()
    if not key and settings.sandbox_url:
        return Account(settings.sandbox_url, SANDBOX, SANDBOX, provider=SANDBOX)
    return Account(settings.hume_base_url, key, secret)

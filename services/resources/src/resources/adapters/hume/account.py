"""Everything about Hume, put together from the settings: which account an organisation has, and what it offers."""

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog

from common.providers.provider_registry import ProviderRegistry
from resources.adapters.hume.api import Account, hume_api, open_transport
from resources.adapters.hume.call_policy import hume_policy
from resources.adapters.hume.catalogue import HumeCatalogue
from resources.adapters.hume.source import HumeSource
from resources.adapters.hume.token_endpoint import HumeTokens
from resources.ports import AccessTokens, Provider, ProviderCopy, Store, TokenSource
from resources.settings import ResourcesSettings

log = structlog.get_logger(__name__)

# The stand-in takes any credentials and keeps an account for each key.
SANDBOX = "sandbox"
SETTING = "SONANT_HUME_ORGANIZATIONS"
SECRET_SUFFIX = "_SECRET"  # noqa: S105 - the end of a variable's name
# What the metrics call the account of those that are not named; no organisation can be called this.
REST = "-"


class AccountsError(Exception):
    """The setting cannot be followed; the message names organisations and variables, never keys."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of the organisations in the setting, and what all others fall back to."""

    settings: ResourcesSettings
    named: Mapping[str, Account]

    @property
    def claimed(self) -> bool:
        """Whether the key of SONANT_HUME_API_KEY belongs to one organisation."""
        key = self.settings.hume_api_key.get_secret_value()
        return bool(key) and any(account.api_key == key for account in self.named.values())

    def of(self, org_id: str) -> Account:
        """The account of an organisation; one without a key where it has none."""
        if org_id in self.named:
            return self.named[org_id]
        return Account(self.settings.hume_base_url, "") if self.claimed else _default(self.settings, org_id)


class Hume:
    """What Hume offers each organisation; `share` makes of a source the tokens that all its callers share."""

    def __init__(
        self,
        store: Store,
        copy: ProviderCopy,
        transport: httpx.AsyncClient,
        accounts: Accounts,
        share: Callable[[TokenSource], AccessTokens],
        *,
        registry: ProviderRegistry,
    ) -> None:
        self._transport = transport
        self._accounts = accounts
        self._share = share
        # One each: what one organisation's account meets must not keep the others waiting.
        self._policies = {
            org: hume_policy(org, configured=bool(account.api_key), registry=registry)
            for org, account in accounts.named.items()
        }
        self._rest = hume_policy(REST, configured=bool(accounts.of("").api_key), registry=registry)
        self._providers: dict[Account, Provider] = {}
        self.catalogues = {
            org: HumeCatalogue(store, copy, hume_api(transport, account, self._policies[org]))
            for org, account in accounts.named.items()
        }

    def of(self, org_id: str) -> Provider:
        """The tokens and the stock of an organisation's account."""
        account = self._accounts.of(org_id)
        if account not in self._providers:
            policy = self._policies.get(org_id, self._rest)
            tokens = self._share(HumeTokens(self._transport, account, policy))
            self._providers[account] = Provider(tokens, HumeSource(hume_api(self._transport, account, policy)))
        return self._providers[account]

    async def close(self) -> None:
        """End requests for tokens under way."""
        for provider in self._providers.values():
            await provider.tokens.close()


@asynccontextmanager
async def open_hume(
    settings: ResourcesSettings,
    store: Store,
    copy: ProviderCopy,
    share: Callable[[TokenSource], AccessTokens],
    registry: ProviderRegistry,
) -> AsyncIterator[Hume]:
    """Hume, its stand-in, or neither: then every call is refused with 503. Raises `AccountsError`."""
    accounts = accounts_of(settings)
    for org_id, account in accounts.named.items():
        if not account.api_key:
            log.warning("no key for the account of an organisation at the provider", organization=org_id)
    async with open_transport() as transport:
        hume = Hume(store, copy, transport, accounts, share, registry=registry)
        try:
            yield hume
        finally:
            await hume.close()


# -- which account it is -------------------------------------------------------------------------------------------


def accounts_of(settings: ResourcesSettings, environment: Mapping[str, str] = os.environ) -> Accounts:
    """The accounts that the settings name. Raises `AccountsError`, also when two organisations would share one."""
    named = {}
    for org_id, variable in _entries(settings.hume_organizations):
        if org_id in named:
            raise AccountsError(f"{SETTING} names {org_id} twice.")
        named[org_id] = _named(settings, org_id, variable, environment)
    for (one, own), (other, theirs) in itertools.combinations(named.items(), 2):
        if own.api_key and own.api_key == theirs.api_key:
            raise AccountsError(f"{SETTING}: {one} and {other} have the same API key, and each needs its own account.")
    return Accounts(settings, named)


def _entries(setting: str) -> Iterator[tuple[str, str | None]]:
    """The organisations, each with the variable of its key where one is named."""
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        org_id, equals, variable = (part.strip() for part in entry.partition("="))
        if not org_id or (equals and not variable):
            raise AccountsError(f"{SETTING}: '{entry}' is not an organisation, nor one with a variable: acme=ACME_KEY.")
        yield org_id, variable or None


def _named(settings: ResourcesSettings, org_id: str, variable: str | None, environment: Mapping[str, str]) -> Account:
    if variable is None:
        return _default(settings, org_id)
    key, secret = (environment.get(name, "").strip() for name in (variable, variable + SECRET_SUFFIX))
    return _account(settings, org_id, key, secret)


def _default(settings: ResourcesSettings, org_id: str) -> Account:
    key, secret = settings.hume_api_key.get_secret_value(), settings.hume_secret_key.get_secret_value()
    return _account(settings, org_id, key, secret)


def _account(settings: ResourcesSettings, org_id: str, key: str, secret: str) -> Account:
    """The account of this key, or where there is none the sandbox's for this organisation, if it runs."""
    if not key and settings.sandbox_url:
        own = f"{SANDBOX}-{org_id}"
        return Account(settings.sandbox_url, own, own, provider=SANDBOX)
    return Account(settings.hume_base_url, key, secret)

"""Access tokens of Hume: fetched once, renewed early, and plainly refused."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from common.failures import ProviderDown
from common.providers.breaker import Breaker
from common.providers.policy import CallLimits
from resources.adapters.hume.account import Accounts, AccountsError, accounts_of
from resources.adapters.hume.api import Account, open_transport
from resources.adapters.hume.call_policy import hume_policy
from resources.adapters.hume.token_endpoint import HumeTokens
from resources.hume.tokens import EARLY_SECONDS, Tokens
from resources.settings import ResourcesSettings
from sandbox.app import serve
from tests.contract.catalogue_contract import refused

HUME = "https://api.hume.ai"


class Provider:
    """The stand-in's account that tokens are asked of."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.key = f"key-{uuid.uuid4().hex}"
        self._session = session

    async def arrange(self, *faults: str, token_seconds: int = 1800) -> None:
        body = {"faults": [{"do": each} for each in faults], "token_seconds": token_seconds}
        async with self._session.put(f"/sandbox/hume/accounts/{self.key}", json=body) as answer:
            assert answer.status == 200

    async def granted(self) -> int:
        async with self._session.get(f"/sandbox/hume/accounts/{self.key}") as answer:
            return int((await answer.json())["tokens"])

    async def accepts(self, token: str) -> bool:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.get("/v0/evi/prompts", headers=headers) as answer:
            return answer.status == 200


class Clock:
    """Unix seconds that are moved on by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return self.ahead + time.time()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as url, aiohttp.ClientSession(url) as session:
        yield Provider(url, session)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(provider: Provider, clock: Clock) -> AsyncIterator[Tokens]:
    async with open_transport() as transport:
        source = HumeTokens(
            transport,
            Account(provider.url, provider.key, "secret"),
            hume_policy(limits=CallLimits(total_seconds=1), breaker=Breaker(failures=100)),
        )
        opened = Tokens(source, clock=clock)
        yield opened
        await opened.close()


async def test_a_token_is_fetched_once_for_all_who_ask(provider: Provider, tokens: Tokens) -> None:
    await provider.arrange("delay-100")
    got = {token.value for token in await asyncio.gather(*(tokens.get() for _ in range(50)))}
    assert len(got) == 1
    assert await provider.granted() == 1
    assert await provider.accepts(got.pop())
    await tokens.get()
    assert await provider.granted() == 1


async def test_a_token_is_renewed_before_it_ends(provider: Provider, tokens: Tokens, clock: Clock) -> None:
    first = await tokens.get()
    clock.ahead = 1800 - EARLY_SECONDS - 5
    assert await tokens.get() == first
    clock.ahead = 1800 - EARLY_SECONDS + 5
    second = await tokens.get()
    assert second.value != first.value
    assert await provider.granted() == 2


async def test_the_token_in_hand_serves_while_no_other_can_be_had(
    provider: Provider, tokens: Tokens, clock: Clock
) -> None:
    first = await tokens.get()
    clock.ahead = 1800 - 60
    await provider.arrange(*["status-503"] * 3)
    assert await tokens.get() == first
    clock.ahead = 1800 - 5
    await provider.arrange(*["status-503"] * 3)
    with pytest.raises(ProviderDown):
        await tokens.get()
    assert (await tokens.get()).value != first.value


async def test_the_token_in_hand_serves_while_another_is_long_in_coming(provider: Provider, clock: Clock) -> None:
    async with open_transport() as transport:
        source = HumeTokens(transport, Account(provider.url, provider.key, "secret"), hume_policy())
        tokens = Tokens(source, clock=clock)
        first = await tokens.get()
        clock.ahead = 1800 - 60
        await provider.arrange("delay-2900")
        assert await tokens.get() == first
        assert await provider.granted() == 1
        clock.ahead = 1800 - 5
        assert (await tokens.get()).value != first.value
        assert await provider.granted() == 2


async def test_a_caller_who_leaves_does_not_take_the_token_away(provider: Provider, tokens: Tokens) -> None:
    await provider.arrange("delay-200")
    leaving, staying = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
    await asyncio.sleep(0)
    leaving.cancel()
    assert await provider.accepts((await staying).value)


@pytest.mark.parametrize("fault", ["reset", "status-503", "html-200", "null", "truncated", "status-429"])
async def test_one_failure_is_overcome(provider: Provider, tokens: Tokens, fault: str) -> None:
    await provider.arrange(fault)
    assert await provider.accepts((await tokens.get()).value)


@pytest.mark.parametrize(("status", "fault"), [(401, ""), (403, "status-403"), (400, "status-400")])
async def test_refused_credentials_are_502_with_the_providers_status(
    provider: Provider, status: int, fault: str
) -> None:
    await provider.arrange(*filter(None, [fault]))
    secret = "secret" if fault else "secret-invalid"
    async with open_transport() as transport:
        source = HumeTokens(transport, Account(provider.url, provider.key, secret), hume_policy())
        met = await refused(502, Tokens(source).get())
    assert met.details["provider_status"] == status
    assert provider.key not in met.message
    assert "secret" not in met.message


async def test_without_credentials_it_is_unconfigured(provider: Provider) -> None:
    async with open_transport() as transport:
        for account in (Account(provider.url, ""), Account(provider.url, provider.key)):
            met = await refused(503, Tokens(HumeTokens(transport, account, hume_policy())).get())
            assert met.code == "provider_unconfigured"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"hume_api_key": "k", "hume_secret_key": "s"}, Account(HUME, "k", "s")),
        ({"hume_api_key": "k", "sandbox_url": "http://s"}, Account(HUME, "k")),
        ({"sandbox_url": "http://s"}, Account("http://s", "sandbox-acme", "sandbox-acme", provider="sandbox")),
        ({}, Account(HUME, "")),
    ],
)
@pytest.mark.parametrize("named", ["", "acme"])
def test_without_a_key_the_sandbox_stands_in_or_nobody(settings: dict[str, str], expected: Account, named: str) -> None:
    assert accounts(named, {}, **settings).of("acme") == expected


def test_every_organisation_has_an_account_of_its_own() -> None:
    keys = {"ACME_KEY": "a", "ACME_KEY_SECRET": "as", "BETA": "b"}
    made = accounts("acme=ACME_KEY, beta = BETA ,gamma", keys, hume_api_key="k", hume_secret_key="s")
    assert [made.of(org) for org in ("acme", "beta", "gamma")] == [
        Account(HUME, "a", "as"),
        Account(HUME, "b"),
        Account(HUME, "k", "s"),
    ]
    # The default account is gamma's, and nobody else's.
    assert made.of("stranger") == Account(HUME, "")


def test_a_key_that_nobody_claims_serves_those_that_are_not_named() -> None:
    made = accounts("acme=ACME_KEY", {"ACME_KEY": "a"}, hume_api_key="k", hume_secret_key="s")
    assert made.of("stranger") == made.of("another") == Account(HUME, "k", "s")
    assert made.of("acme") == Account(HUME, "a")


def test_on_the_sandbox_no_two_share_an_account() -> None:
    made = accounts("acme,beta", sandbox_url="http://s")
    assert len({made.of(org).api_key for org in ("acme", "beta", "stranger", "another")}) == 4


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("acme,beta", "acme and beta have the same API key"),
        ("acme=ONE,beta=OTHER", "acme and beta have the same API key"),
        ("acme,beta=SAME", "acme and beta have the same API key"),
        ("acme=ONE,acme=TWO", "acme twice"),
        ("acme=", "'acme='"),
        ("=ONE", "'=ONE'"),
    ],
)
def test_what_cannot_be_kept_apart_is_refused_without_a_word_about_keys(named: str, told: str) -> None:
    keys = {"ONE": "the-key", "OTHER": "the-key ", "SAME": "default-key", "TWO": "x"}
    with pytest.raises(AccountsError) as met:
        accounts(named, keys, hume_api_key="default-key")
    assert told in str(met.value)
    assert "-key" not in str(met.value).replace("API key", "")
    assert "the-key" not in repr(Account(HUME, "the-key", "the-key"))


def accounts(named: str, environment: Mapping[str, str] | None = None, **settings: str) -> Accounts:
    own = {"hume_base_url": HUME, "hume_organizations": named, **settings}
    return accounts_of(ResourcesSettings.model_validate(own), environment or {})

"""The registry of providers: what it shows, what it never shows, and which provider it chooses."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import ProviderDown, Refused
from common.providers.breaker import Breaker
from common.providers.policy import Policy
from common.providers.provider_registry import LATENCIES, MAX_ERROR_TEXT, ProviderRecord, ProviderRegistry, short


def verdict(error: Exception) -> ProviderDown:
    return ProviderDown(str(error))


@pytest.fixture
def registry() -> ProviderRegistry:
    return ProviderRegistry()


def broken() -> Breaker:
    breaker = Breaker(failures=1, clock=lambda: 0.0)
    breaker.failed()
    return breaker


# -- the snapshot ------------------------------------------------------------------------------------------------------


async def test_a_policy_keeps_its_record_up_to_date(registry: ProviderRegistry) -> None:
    policy = Policy("acme", verdict, account="beta", registry=registry)
    [fresh] = registry.snapshot()
    assert (fresh.name, fresh.account, fresh.configured, fresh.healthy) == ("acme", "beta", True, None)
    assert (fresh.in_flight, fresh.latency_p50_seconds, fresh.last_error) == (0, None, None)

    asking = asyncio.Event()
    call = asyncio.create_task(policy.once(policy.begin(), "get", asking.wait))
    await asyncio.sleep(0)
    assert registry.snapshot()[0].in_flight == 1
    asking.set()
    await call
    [good] = registry.snapshot()
    assert (good.healthy, good.in_flight, good.breaker) == (True, 0, "closed")
    assert good.latency_p50_seconds is not None

    async def fail() -> None:
        raise ConnectionResetError("reset by peer")

    with pytest.raises(ProviderDown):
        await policy.once(policy.begin(), "get", fail)
    [bad] = registry.snapshot()
    assert bad.healthy is False
    assert bad.last_error is not None
    assert (bad.last_error.error, bad.last_error.text) == ("ConnectionResetError", "reset by peer")
    assert bad.last_error.at.utcoffset() is not None


def test_the_latency_is_the_median_of_the_last_calls() -> None:
    record = ProviderRecord("acme")
    for _ in range(LATENCIES):
        record.answered(9.0)
    for _ in range(LATENCIES // 2 + 1):
        record.answered(1.0)
    assert record.status().latency_p50_seconds == 1.0


def test_what_a_caller_can_mend_is_no_error_of_the_provider() -> None:
    record = ProviderRecord("acme")
    record.failed(Refused(404, "No such voice."), KeyError())
    assert record.status().last_error is None
    refused = Refused(502, "The provider does not accept our account: 401.")
    record.failed(refused, refused)
    last = record.status().last_error
    assert last is not None
    assert (last.error, last.text) == ("Refused", "The provider does not accept our account: 401.")


def test_the_snapshot_is_ready_for_json(registry: ProviderRegistry) -> None:
    record = ProviderRecord("acme", breaker=broken())
    record.failed(ProviderDown("down"), OSError())
    registry.add(record)
    shown = registry.snapshot()[0].model_dump(mode="json")
    assert (shown["breaker"], shown["retry_in_seconds"]) == ("open", 5.0)
    assert shown["last_error"]["at"].endswith("Z")


def test_an_account_has_one_record(registry: ProviderRegistry) -> None:
    registry.add(ProviderRecord("acme"))
    registry.add(ProviderRecord("acme", "beta"))
    with pytest.raises(ValueError, match="acme"):
        registry.add(ProviderRecord("acme", "beta"))


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "Bearer abc.def",
        "hT7Yq0pLmN4rSt8vWx2zA1bC3dE5fG7h",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "550e8400e29b41d4a716446655440000",
    ],
)
def test_no_secret_is_shown(secret: str) -> None:
    for text in (f"Incorrect API key provided: {secret}.", f"{secret} is not valid", f"GET https://x.y/z?key={secret}"):
        assert secret not in short(text)
    assert "s3cret" not in short("https://user:s3cret@x.y/")
    assert "s3cret" not in short("GET https://x.y/z?key=s3cret failed")


@given(
    st.text(alphabet="abcdefXYZ0123456789-_", min_size=20, max_size=64).filter(lambda key: any(map(str.isdigit, key)))
)
def test_no_key_of_the_usual_form_is_shown(key: str) -> None:
    assert key not in short(f"The key {key} was not accepted.")


@given(st.text())
def test_a_text_stays_short(text: str) -> None:
    assert len(short(text)) <= MAX_ERROR_TEXT


def test_plain_words_are_shown() -> None:
    text = "The provider failed with status 503: internationalisation is unavailable."
    assert short(text) == text


# -- the choice --------------------------------------------------------------------------------------------------------


def test_the_first_that_can_be_called_is_chosen(registry: ProviderRegistry) -> None:
    registry.add(ProviderRecord("keyless", configured=False))
    registry.add(ProviderRecord("broken", breaker=broken()))
    resting = Breaker()
    resting.rest(60)
    registry.add(ProviderRecord("resting", breaker=resting))
    registry.add(ProviderRecord("good"))
    registry.add(ProviderRecord("better"))
    assert registry.first_usable(["keyless", "broken", "resting", "good", "better"]) == "good"
    assert registry.first_usable(["better", "good"]) == "better"
    assert registry.first_usable(["keyless", "broken"]) is None
    with pytest.raises(KeyError):
        registry.first_usable(["unknown"])


def test_a_broken_provider_is_chosen_again_when_it_wants_a_probe(registry: ProviderRegistry) -> None:
    now = [0.0]
    breaker = Breaker(failures=1, open_seconds=5.0, clock=lambda: now[0])
    registry.add(ProviderRecord("first", breaker=breaker))
    registry.add(ProviderRecord("second"))
    breaker.failed()
    assert registry.first_usable(["first", "second"]) == "second"
    now[0] = 5.0
    assert registry.first_usable(["first", "second"]) == "first"
    assert breaker.try_enter()
    assert registry.first_usable(["first", "second"]) == "second"


def test_choosing_takes_nothing(registry: ProviderRegistry) -> None:
    now = [0.0]
    breaker = Breaker(failures=1, open_seconds=5.0, clock=lambda: now[0])
    registry.add(ProviderRecord("first", breaker=breaker))
    breaker.failed()
    now[0] = 5.0
    assert [registry.first_usable(["first"]) for _ in range(3)] == ["first"] * 3

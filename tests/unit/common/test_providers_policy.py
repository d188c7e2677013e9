"""The policy of calls to a provider: tries within the time there is, whose fault a failure was, and what is counted."""

import asyncio
import time
from collections.abc import Awaitable

import pytest
from prometheus_client import REGISTRY

from common.events.backoff import NEVER, Backoff
from common.failures import ProviderDown, Refused
from common.providers.breaker import UNASKED_SECONDS, Breaker
from common.providers.policy import BreakerOpen, Budget, CallLimits, Policy, no_answer
from tests.support.breaker import Clock

AT_ONCE = Backoff(attempts=2, first=0.0)


class ClientError(Exception):
    """What a client library raises, with the status it met."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after


def verdict(error: Exception) -> Refused | ProviderDown | None:
    if not isinstance(error, ClientError):
        return None
    if error.status == 400:
        return Refused(400, "The provider says: no", details={"provider_status": 400})
    return ProviderDown("down", status=error.status, retry_after=error.retry_after)


@pytest.fixture
def policy(breaker: Breaker) -> Policy:
    return Policy("acme", verdict, breaker=breaker, limits=CallLimits(retries=AT_ONCE))


class Provider:
    """Answers in turn with what it is given; errors are raised, and the last one is repeated."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.calls = 0

    async def send(self) -> object:
        self.calls += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def ask(policy: Policy, provider: Provider) -> Awaitable[object]:
    return policy.read(policy.begin(), "get", provider.send)


async def break_it(policy: Policy, breaker: Breaker) -> None:
    while breaker.state == "closed":
        with pytest.raises(ProviderDown):
            await policy.once(policy.begin(), "get", Provider(ClientError(503)).send)


# -- tries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ClientError(503), ClientError(429), TimeoutError(), None])
async def test_a_failure_is_overcome_by_another_try(policy: Policy, failure: Exception | None) -> None:
    provider = Provider(failure, failure, "here")
    assert await ask(policy, provider) == "here"
    assert provider.calls == 3


async def test_tries_are_limited_in_number(policy: Policy) -> None:
    provider = Provider(ClientError(503))
    with pytest.raises(ProviderDown) as down:
        await ask(policy, provider)
    assert (down.value.status, provider.calls) == (503, 3)


@pytest.mark.parametrize("failure", [ClientError(400), ClientError(410), ClientError(404)])
async def test_what_would_only_be_said_again_is_asked_once(policy: Policy, failure: Exception) -> None:
    provider = Provider(failure)
    with pytest.raises((Refused, ProviderDown)):
        await ask(policy, provider)
    assert provider.calls == 1


@pytest.mark.parametrize("asked", [0.0, 1.0, 4.0])
def test_a_retry_after_within_the_budget_is_heeded_and_never_cut_short(asked: float) -> None:
    down = ProviderDown("busy", status=429, retry_after=asked)
    assert asked < Budget.full(5.0).delay(Backoff(attempts=1, first=0.1), 1, down) <= asked + 0.1


def test_those_who_are_told_the_same_do_not_come_back_together() -> None:
    down = ProviderDown("busy", status=429, retry_after=1.0)
    assert len({Budget.full(5.0).delay(Backoff(attempts=1, first=0.1), 1, down) for _ in range(50)}) == 50


async def test_a_retry_after_within_the_budget_is_waited_for(policy: Policy) -> None:
    provider = Provider(ClientError(503, retry_after=0.05), "here")
    began = time.monotonic()
    assert await ask(policy, provider) == "here"
    assert time.monotonic() - began >= 0.05


async def test_a_retry_after_beyond_the_budget_is_told_at_once(policy: Policy) -> None:
    provider = Provider(ClientError(429, retry_after=30.0))
    async with asyncio.timeout(1):
        with pytest.raises(ProviderDown) as busy:
            await ask(policy, provider)
    assert (busy.value.retry_after, provider.calls) == (30.0, 1)


def test_a_pause_that_leaves_no_time_for_a_try_is_not_made() -> None:
    with pytest.raises(ProviderDown):
        Budget.full(0.25).delay(Backoff(attempts=9, first=0.2), 1, ProviderDown("down"))


def test_a_budget_ends_with_the_caller() -> None:
    policy = Policy("acme", verdict, limits=CallLimits(total_seconds=5.0))
    assert policy.begin().left() == pytest.approx(5.0, abs=0.1)
    assert policy.begin(30.0).left() == pytest.approx(30.0, abs=0.1)
    assert policy.begin(at_most=2.0).left() == pytest.approx(2.0, abs=0.1)
    assert policy.begin(at_most=9.0).left() == pytest.approx(5.0, abs=0.1)
    assert policy.begin(deadline=time.time() + 1.0).left() == pytest.approx(1.0, abs=0.1)
    assert policy.begin(deadline=time.time() - 1.0).left() < 0


async def test_nothing_is_begun_when_time_is_up(policy: Policy, breaker: Breaker) -> None:
    provider = Provider("here")
    for _ in range(5):
        with pytest.raises(ProviderDown):
            await policy.once(policy.begin(deadline=time.time() - 1.0), "get", provider.send)
    assert (provider.calls, breaker.state) == (0, "closed")


async def test_a_silent_provider_is_given_up_when_time_is_up() -> None:
    policy = Policy("acme", verdict, limits=CallLimits(total_seconds=0.02, retries=NEVER))
    with pytest.raises(ProviderDown) as down:
        await policy.read(policy.begin(), "get", asyncio.Event().wait)
    assert down.value.message == "The provider did not answer properly: TimeoutError."


# -- verdicts ----------------------------------------------------------------------------------------------------------


async def test_failures_keep_the_error_they_come_from(policy: Policy) -> None:
    error = ClientError(400)
    with pytest.raises(Refused) as met:
        await ask(policy, Provider(error))
    assert met.value.__cause__ is error


async def test_a_failure_raised_inside_is_passed_on_as_it_is(policy: Policy, breaker: Breaker) -> None:
    failure = ProviderDown("half an answer", status=200)
    with pytest.raises(ProviderDown) as met:
        await policy.once(policy.begin(), "get", Provider(failure).send)
    assert met.value is failure
    assert policy.record.status().healthy is False


async def test_a_bug_is_no_verdict_about_the_provider(policy: Policy, breaker: Breaker) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await ask(policy, Provider(ZeroDivisionError()))
    assert breaker.state == "closed"
    assert policy.record.status().healthy is None


async def test_without_a_key_nothing_leaves() -> None:
    policy = Policy("acme", verdict, configured=False, unconfigured="No key.")
    provider = Provider("here")
    with pytest.raises(Refused) as met:
        await ask(policy, provider)
    assert (met.value.status, met.value.code, met.value.message) == (503, "provider_unconfigured", "No key.")
    assert (met.value.type, provider.calls) == ("api_error", 0)


# -- the breaker -------------------------------------------------------------------------------------------------------


async def test_a_broken_provider_is_left_alone_and_nobody_waits_for_it(policy: Policy, breaker: Breaker) -> None:
    await break_it(policy, breaker)
    provider = Provider("here")
    async with asyncio.timeout(1):
        with pytest.raises(BreakerOpen) as down:
            await ask(policy, provider)
    assert (down.value.retry_after, provider.calls) == (5.0, 0)


async def test_one_call_probes_and_lets_the_others_back(policy: Policy, breaker: Breaker, clock: Clock) -> None:
    await break_it(policy, breaker)
    clock.now += 5.0
    answered = asyncio.Event()
    probe = asyncio.create_task(policy.once(policy.begin(), "get", answered.wait))
    await asyncio.sleep(0)
    other = Provider("here")
    with pytest.raises(BreakerOpen):
        await policy.once(policy.begin(), "get", other.send)
    answered.set()
    assert await probe is True
    assert await policy.once(policy.begin(), "get", other.send) == "here"


async def test_a_probe_that_fails_opens_the_breaker_again(policy: Policy, breaker: Breaker, clock: Clock) -> None:
    await break_it(policy, breaker)
    clock.now += 5.0
    with pytest.raises(ProviderDown):
        await policy.once(policy.begin(), "get", Provider(ClientError(500)).send)
    assert breaker.state == "open"


async def test_a_cancelled_call_is_no_verdict(policy: Policy, breaker: Breaker, clock: Clock) -> None:
    await break_it(policy, breaker)
    clock.now += 5.0
    for _ in range(3):
        probe = asyncio.create_task(policy.once(policy.begin(), "get", asyncio.Event().wait))
        await asyncio.sleep(0)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
    assert (breaker.state, breaker.would_enter()) == ("probing", True)
    assert await policy.once(policy.begin(), "get", Provider("here").send) == "here"


async def test_what_a_request_itself_causes_is_no_verdict(policy: Policy, breaker: Breaker) -> None:
    """Neither for the provider nor against it: one caller's mistakes would hide an outage from all others."""
    for failure in (400, 503, 400, 503, 400, 400, 400):
        with pytest.raises((Refused, ProviderDown)):
            await policy.once(policy.begin(), "get", Provider(ClientError(failure)).send)
    assert breaker.state == "closed"
    with pytest.raises(ProviderDown):
        await policy.once(policy.begin(), "get", Provider(ClientError(503)).send)
    assert breaker.state == "open"


async def test_a_busy_provider_rests_and_is_not_broken(policy: Policy, breaker: Breaker, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(ProviderDown):
            await policy.once(policy.begin(), "get", Provider(ClientError(429, retry_after=2.0)).send)
    assert breaker.state == "closed"
    with pytest.raises(ProviderDown) as resting:
        await policy.once(policy.begin(), "get", Provider("here").send)
    assert (type(resting.value), resting.value.retry_after) == (ProviderDown, 2.0)
    clock.now += 2.0
    assert await policy.once(policy.begin(), "get", Provider("here").send) == "here"


async def test_no_retry_after_stops_calls_for_ever(policy: Policy, breaker: Breaker) -> None:
    with pytest.raises(ProviderDown):
        await policy.once(policy.begin(), "get", Provider(ClientError(429, retry_after=1e9)).send)
    assert breaker.rests_for() == 300.0


async def test_a_stream_that_breaks_off_is_a_failure(policy: Policy, breaker: Breaker) -> None:
    async def listen() -> None:
        async with policy.call(policy.begin(), "speak"):
            await asyncio.sleep(0)
            raise ClientError(502)

    for _ in range(3):
        with pytest.raises(ProviderDown):
            await listen()
    assert breaker.state == "open"


# -- how many at once --------------------------------------------------------------------------------------------------


async def test_calls_are_limited_in_number_and_the_others_wait() -> None:
    policy = Policy("acme", verdict, limits=CallLimits(concurrency=2))
    most, running = 0, 0

    async def send() -> bool:
        nonlocal most, running
        running += 1
        most = max(most, running)
        assert policy.record.status().in_flight == running
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return True

    await asyncio.gather(*(policy.once(policy.begin(), "get", send) for _ in range(10)))
    assert most == 2
    assert policy.record.status().in_flight == 0


async def test_who_waits_for_a_slot_in_vain_says_nothing_about_the_provider(breaker: Breaker) -> None:
    policy = Policy("acme", verdict, breaker=breaker, limits=CallLimits(concurrency=1))
    slow = asyncio.create_task(policy.once(policy.begin(), "get", asyncio.Event().wait))
    await asyncio.sleep(0)
    provider = Provider("here")
    for _ in range(4):
        with pytest.raises(ProviderDown):
            await policy.once(policy.begin(0.01), "get", provider.send)
    assert (provider.calls, breaker.state, policy.record.status().healthy) == (0, "closed", None)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await policy.once(policy.begin(), "get", provider.send) == "here"


# -- metrics -----------------------------------------------------------------------------------------------------------


def counted(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"provider": "counted", "operation": "get", **labels})


async def test_every_call_and_failure_is_counted(breaker: Breaker) -> None:
    policy = Policy("counted", verdict, account="beta", breaker=breaker, limits=CallLimits(retries=AT_ONCE))
    assert await ask(policy, Provider(ClientError(503), None, "here")) == "here"
    with pytest.raises(Refused):
        await ask(policy, Provider(ClientError(400)))
    assert counted("sonant_api_calls_total") == 4
    assert counted("sonant_api_duration_seconds_count") == 4
    assert [
        counted("sonant_api_errors_total", reason=reason) for reason in ("status 503", "no answer", "status 400")
    ] == [1, 1, 1]
    assert REGISTRY.get_sample_value("sonant_api_in_flight", {"provider": "counted"}) == 0


async def test_an_open_breaker_shows_in_the_gauge_of_its_account(breaker: Breaker, clock: Clock) -> None:
    policy = Policy("gauged", verdict, account="beta", breaker=breaker)

    def is_open() -> float | None:
        return REGISTRY.get_sample_value("sonant_api_breaker_open", {"provider": "gauged", "account": "beta"})

    assert is_open() == 0
    await break_it(policy, breaker)
    assert is_open() == 1
    clock.now += 5.0
    await policy.once(policy.begin(), "get", Provider("here").send)
    assert is_open() == 0


async def test_a_breaker_that_nobody_asks_any_more_is_not_told_as_open_for_good(breaker: Breaker, clock: Clock) -> None:
    """Before, the gauge kept its last state until the next call, and so did the alert."""
    policy = Policy("unasked", verdict, breaker=breaker)

    def is_open() -> float | None:
        return REGISTRY.get_sample_value("sonant_api_breaker_open", {"provider": "unasked", "account": ""})

    await break_it(policy, breaker)
    clock.now += 5.0 + UNASKED_SECONDS - 0.1
    assert is_open() == 1
    clock.now += 0.1
    assert is_open() == 0
    # It lets one try, as ever; who finds the provider away keeps the others from it again.
    with pytest.raises(ProviderDown):
        await policy.once(policy.begin(), "get", Provider(ClientError(503)).send)
    assert is_open() == 1


def test_what_is_not_understood_is_named_by_its_class() -> None:
    assert no_answer(ValueError("secret")).message == "The provider did not answer properly: ValueError."

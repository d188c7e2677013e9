"""A breaker that callers share: whoever provokes failures is alone with them, and an outage is everybody's."""

import pytest

from common.providers.breaker import UNASKED_SECONDS
from common.providers.shared_breaker import SharedBreaker
from tests.support.breaker import Clock


@pytest.fixture
def shared(clock: Clock) -> SharedBreaker:
    return SharedBreaker(failures=5, open_seconds=5.0, clock=clock)


def fail(shared: SharedBreaker, caller: str, times: int) -> None:
    for _ in range(times):
        breaker = shared.seen_by(caller)
        if breaker.try_enter():
            breaker.failed()


def test_many_failures_of_one_caller_open_it_for_that_caller_alone(shared: SharedBreaker, clock: Clock) -> None:
    """Before, five of them kept everybody from the upstream."""
    shared.seen_by("quiet").succeeded()
    fail(shared, "noisy", 50)
    noisy, quiet = shared.seen_by("noisy"), shared.seen_by("quiet")
    assert (noisy.state, noisy.try_enter(), noisy.opens_in()) == ("open", False, 5.0)
    assert (quiet.state, quiet.try_enter(), shared.keeps_all_away) == ("closed", True, False)
    assert shared.seen_by("new").try_enter()
    clock.now += 5
    assert [noisy.try_enter(), noisy.try_enter()] == [True, False]


def test_it_opens_for_all_when_most_callers_fail(shared: SharedBreaker) -> None:
    fail(shared, "one", 5)
    assert shared.seen_by("two").state == "closed"
    fail(shared, "two", 1)
    for caller in ("one", "two", "three"):
        assert not shared.seen_by(caller).try_enter()
    assert shared.keeps_all_away


def test_an_upstream_that_fails_its_only_caller_is_left_alone_while_that_one_asks(
    shared: SharedBreaker, clock: Clock
) -> None:
    fail(shared, "one", 5)
    assert shared.keeps_all_away
    clock.now += 5 + UNASKED_SECONDS
    assert not shared.keeps_all_away


def test_one_who_is_served_later_outweighs_the_only_one_who_was_not(shared: SharedBreaker, clock: Clock) -> None:
    fail(shared, "one", 5)
    clock.now += 11
    shared.seen_by("two").succeeded()
    assert not shared.keeps_all_away
    clock.now += 11
    assert not shared.keeps_all_away


def test_a_few_failures_of_many_callers_are_enough(shared: SharedBreaker) -> None:
    for caller in "abcde":
        fail(shared, caller, 1)
    assert shared.seen_by("f").state == "open"


def test_callers_who_are_served_keep_it_closed_for_those_who_are_not(shared: SharedBreaker) -> None:
    for caller in "abc":
        shared.seen_by(caller).succeeded()
    for caller in ("bad-1", "bad-2", "bad-3"):
        fail(shared, caller, 50)
    assert shared.seen_by("a").try_enter()


def test_who_was_served_long_ago_says_nothing_about_now(shared: SharedBreaker, clock: Clock) -> None:
    for caller in "abc":
        shared.seen_by(caller).succeeded()
    clock.now += 60
    fail(shared, "one", 4)
    fail(shared, "two", 1)
    assert shared.seen_by("a").state == "open"


def test_whoever_fails_as_the_probe_leaves_the_next_one_to_somebody_else(shared: SharedBreaker, clock: Clock) -> None:
    """So one caller whose requests always fail cannot keep it open for all."""
    fail(shared, "bad", 4)
    fail(shared, "good", 1)
    clock.now += 5
    assert shared.seen_by("bad").try_enter()
    assert not shared.seen_by("good").try_enter(), "one probes at a time"
    shared.seen_by("bad").failed()
    clock.now += 5
    assert not shared.seen_by("bad").try_enter()
    assert shared.seen_by("good").try_enter()
    shared.seen_by("good").succeeded()
    assert shared.seen_by("good").state == "closed"
    assert shared.seen_by("new").try_enter()


def test_a_rate_limit_is_everybodys(shared: SharedBreaker) -> None:
    shared.seen_by("one").rest(2.0)
    assert (shared.seen_by("two").try_enter(), shared.seen_by("two").rests_for()) == (False, 2.0)


def test_no_verdict_changes_nothing_and_callers_are_bounded(shared: SharedBreaker) -> None:
    fail(shared, "one", 4)
    assert shared.seen_by("one").try_enter()
    shared.seen_by("one").left()
    fail(shared, "one", 1)
    assert shared.seen_by("one").state == "open"
    for number in range(3_000):
        shared.seen_by(str(number)).succeeded()
    assert len(shared.recent()) <= 1_000

"""How calls to providers are held off: the breaker, and what an answer says about when to come back."""

import email.utils
import time

import pytest

from common.providers.breaker import Breaker
from common.providers.retry_after import retry_after
from tests.support.breaker import Clock


def break_it(breaker: Breaker) -> None:
    for _ in range(3):
        assert breaker.try_enter()
        breaker.failed()


def test_a_breaker_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"
    break_it(breaker)
    assert breaker.state == "open"
    assert not breaker.try_enter()
    assert breaker.opens_in() == 5.0


def test_a_recovering_upstream_is_probed_by_one(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.opens_in() == 0.0
    assert [breaker.try_enter() for _ in range(3)] == [True, False, False]
    assert breaker.state == "probing"
    breaker.succeeded()
    assert breaker.state == "closed"
    assert all(breaker.try_enter() for _ in range(3))


def test_a_failed_probe_opens_the_breaker_again(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.failed()
    assert breaker.state == "open"
    assert breaker.opens_in() == 5.0


def test_a_probe_without_a_verdict_leaves_its_place_to_another(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.left()
    assert breaker.try_enter()


def test_a_busy_upstream_rests_and_then_lets_everybody_back(breaker: Breaker, clock: Clock) -> None:
    breaker.rest(2.0)
    breaker.rest(1.0)
    assert (breaker.state, breaker.try_enter(), breaker.rests_for(), breaker.opens_in()) == ("closed", False, 2.0, 2.0)
    clock.now += 2.0
    assert all(breaker.try_enter() for _ in range(3))
    assert breaker.rests_for() == 0.0


def test_a_probe_that_meets_a_rate_limit_is_repeated_after_the_rest(breaker: Breaker, clock: Clock) -> None:
    break_it(breaker)
    clock.now += 5.0
    assert breaker.try_enter()
    breaker.rest(3.0)
    assert not breaker.try_enter()
    clock.now += 3.0
    assert [breaker.try_enter(), breaker.try_enter()] == [True, False]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_a_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_is_taken_against_the_answers_own_clock() -> None:
    sent, back = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:49 GMT"
    assert retry_after({"retry-after": back, "date": sent}) == 12.0
    assert retry_after({"retry-after": sent, "date": back}) == 0.0
    assert retry_after({"retry-after": back.replace("GMT", "-0000"), "date": sent}) == 12.0
    # Without a clock that can be read it is ours.
    assert retry_after({"retry-after": back, "date": "yesterday"}) == 0.0


def test_a_retry_after_may_be_a_date() -> None:
    told = retry_after({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)})
    assert told is not None
    assert 28 < told <= 30

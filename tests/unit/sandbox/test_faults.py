"""The fault grammar says what it means, in a model name and in the header alike."""

import pytest

from sandbox.faults import NO_FAILURE, UNAVAILABLE, Failure, Gates, Pace, UnknownDirective, parse, split_model


def test_a_plain_model_has_no_faults() -> None:
    assert split_model("sandbox") == ("sandbox", ())
    assert parse(()).failure == NO_FAILURE


@pytest.mark.parametrize(
    ("model", "failure"),
    [
        ("sandbox+status-429-ra-1", Failure(status=429, retry_after=1)),
        ("sandbox+status-503+should-retry-false", Failure(status=503, should_retry=False)),
        ("sandbox+retry-after-ms-200", Failure(status=429, retry_after_ms=200)),
        ("sandbox+malformed-after-1+reset-after-3", Failure(malformed_after=1, reset_after=3)),
        ("sandbox+content-filter-finish+no-done", Failure(content_filter_finish=True, no_done=True)),
        ("sandbox+silence-after-headers", Failure(silence_after_headers=True)),
    ],
)
def test_directives_in_a_model_name(model: str, failure: Failure) -> None:
    assert parse(split_model(model)[1]).failure == failure


def test_the_header_means_the_same_as_the_name() -> None:
    named = parse(("status-429", "retry-after-1", "delay-5"))
    assert parse((), "status=429;retry_after=1;delay=5") == named
    assert parse(("delay-5",), "status=429; retry-after=1") == named


def test_pace_is_read_apart_from_failures() -> None:
    faults = parse(("chunks-20", "delay-2.5", "first-40", "headers-3", "split-bytes", "keepalive-10"))
    assert faults.pace == Pace(headers=3, first=40, delay=2.5, chunks=20, split_bytes=True, keepalive=10), faults
    assert faults.failure == NO_FAILURE


@pytest.mark.parametrize(
    "word", ["explode", "status", "reset-after", "delay-true", "silence-3", "status-200", "outage-x", "-"]
)
def test_an_unknown_directive_is_refused(word: str) -> None:
    with pytest.raises(UnknownDirective):
        parse((word,))


def test_trips_come_in_order_and_past_the_end_at_the_end() -> None:
    failure = Failure(reset_after=2, malformed_after=2, stall_after=99)
    assert failure.trips(5) == {2: ["malformed", "reset"], 5: ["stall"]}


def test_flaky_fails_the_first_n_of_each_scenario() -> None:
    gates, faults = Gates(), parse(("flaky-2",))
    assert [gates.decide(faults, "m", "a") for _ in range(3)] == [UNAVAILABLE, UNAVAILABLE, NO_FAILURE]
    assert gates.decide(faults, "m", "b") == UNAVAILABLE


def test_flaky_fails_with_the_other_directives() -> None:
    gates, faults = Gates(), parse(("flaky-1", "status-429-ra-1"))
    assert gates.decide(faults, "m", "") == Failure(status=429, retry_after=1)
    assert gates.decide(faults, "m", "") == NO_FAILURE


def test_an_outage_begins_with_its_first_request_and_ends() -> None:
    gates = Gates()
    assert gates.decide(parse(("outage-long-60",)), "m", "") == UNAVAILABLE
    assert gates.decide(parse(("outage-over-0",)), "m", "") == NO_FAILURE
    limited = parse(("status-429",))
    assert gates.decide(parse(("outage-limited-60", "status-429")), "m", "") == limited.failure
    assert gates.decide(parse(("outage-over-0", "status-429")), "m", "") == NO_FAILURE

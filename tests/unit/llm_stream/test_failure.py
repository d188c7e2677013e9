"""What the client is told about the failure of an upstream, and the pauses between attempts."""

import pytest

from common.events.backoff import Backoff
from llm_stream.answer.attempt import BUSY_BACKOFF
from llm_stream.answer.failover import BACKOFF
from llm_stream.answer.failure import failed
from llm_stream.ports import UpstreamBroken, UpstreamBusy


@pytest.mark.parametrize("backoff", [BACKOFF, BUSY_BACKOFF])
def test_pauses_grow_with_jitter_up_to_a_ceiling(backoff: Backoff) -> None:
    for attempt in range(1, backoff.attempts + 1):
        full = min(backoff.ceiling, backoff.first * 2 ** (attempt - 1))
        delays = [backoff.delay(attempt) or 0.0 for _ in range(50)]
        assert all(full / 2 <= delay <= full for delay in delays)
        assert len(set(delays)) > 1
    assert backoff.delay(backoff.attempts + 1) is None


@pytest.mark.parametrize("status", [None, 408, 409, 500, 503])
def test_what_an_upstream_may_take_back_is_not_our_fault(status: int | None) -> None:
    assert not UpstreamBroken("x", status=status).ours


@pytest.mark.parametrize("status", [302, 401, 402, 403, 404, 405, 415])
def test_what_an_upstream_says_about_our_settings_is_not_passed_on(status: int) -> None:
    error = failed(UpstreamBroken("bad key sk-secret", status=status)).error
    assert error.status == 502
    assert "sk-secret" not in error.message


def test_a_rate_limit_is_told_with_the_time_to_come_back() -> None:
    limited = failed(UpstreamBusy("slow down", retry_after=None, exhausted=False), 4.0)
    assert (limited.error.status, limited.retry_after) == (429, 4.0)
    spent = failed(UpstreamBusy("no money", retry_after=None, exhausted=True, code="insufficient_quota"), 4.0)
    assert (spent.error.code, spent.retry_after) == ("insufficient_quota", None)

"""What a turn counts as: failed is what we or a provider did wrong, and that alone wakes somebody."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from common.events.chat import CHAT_REPLY_FAILED, Attempt, ReplyError
from common.events.envelope import Event
from llm_stream.turns.turn_account import count
from tests.support.telemetry import completed, failed, interrupted

ASKED = Attempt(upstream="one", model="m", outcome="refused", started_at=1.0, duration_ms=1.0)


def counted(fact: Event[Any], model: str, outcome: str) -> float:
    """By how much a turn raises the count of a model and outcome."""
    labels = {"model": model, "outcome": outcome}
    before = REGISTRY.get_sample_value("sonant_chat_turns_total", labels) or 0.0
    count("default", fact)
    return (REGISTRY.get_sample_value("sonant_chat_turns_total", labels) or 0.0) - before


def failed_with(status: int, type: str, *, asked: bool) -> Event[Any]:
    error = ReplyError(status=status, message="No.", type=type)
    payload = failed(1).payload.model_copy(update={"error": error, "attempts": (ASKED,) if asked else ()})
    return Event(CHAT_REPLY_FAILED, payload)


def test_what_is_no_failure_counts_as_what_it_is() -> None:
    assert counted(completed(1), "default", "completed") == 1
    assert counted(interrupted(1), "default", "interrupted") == 1


@pytest.mark.parametrize(("status", "type"), [(502, "server_error"), (504, "server_error"), (429, "rate_limit_error")])
@pytest.mark.parametrize("asked", [True, False])
def test_what_we_or_a_provider_could_not_do_counts_as_failed(status: int, type: str, asked: bool) -> None:
    assert counted(failed_with(status, type, asked=asked), "default", "failed") == 1


@pytest.mark.parametrize(
    ("status", "type"), [(400, "invalid_request_error"), (404, "invalid_request_error"), (429, "insufficient_quota")]
)
def test_what_is_wrong_with_a_request_or_its_budget_counts_as_refused(status: int, type: str) -> None:
    assert counted(failed_with(status, type, asked=True), "default", "refused") == 1


def test_a_model_that_nobody_has_is_no_label() -> None:
    assert counted(failed_with(404, "invalid_request_error", asked=False), "none", "refused") == 1

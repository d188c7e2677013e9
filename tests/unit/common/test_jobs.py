"""Jobs, as far as they are pure: what a failure means, how steps are told, tokens, glances."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from common.events.backoff import Backoff
from common.events.media import Milestone
from common.events.video import VideoInput, VideoResult
from common.failures import Park, ProviderDown, Refused, Retry, StoreUnavailableError
from common.jobs.callback_token import job_of, token
from common.jobs.glance import Glance, read_glance
from common.jobs.job_rows import step_states
from common.jobs.job_spec import JobSpec
from common.jobs.job_store import JobHead, Lease
from common.jobs.postgres_jobs import storable
from common.jobs.verdict_of_job import MAX_REST_SECONDS, Again, GivenUp, verdict
from common.kernel.worker_processes import TooDear, WorkersBusy

SPEC = JobSpec(
    kind="video",
    input=VideoInput,
    result=VideoResult,
    steps=("a", "b", "c"),
    summary="Make it.",
    retry=Backoff(attempts=2, first=1.0, ceiling=1.0),
)
JOB = "job_" + "a" * 32


def head(tries: int = 0) -> JobHead:
    now = datetime.now(UTC)
    return JobHead(JOB, "o", "k", "u", "video", 1, now, now.timestamp(), {}, Lease(JOB, 1), tries, 0, None, 0.0, 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(400, "no", "provider_refused"), "provider_refused"),
        (Park("never"), "impossible"),
        (TooDear("it takes more than 2 s"), "too_dear"),
    ],
)
def test_what_another_try_would_not_change_is_given_up(error: Exception, code: str) -> None:
    decided = verdict(error, head(), SPEC)
    assert isinstance(decided, GivenUp)
    assert decided.error["code"] == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderDown("away"), "provider_unavailable"),
        (StoreUnavailableError("away"), "unavailable"),
        (Retry("not now"), "unavailable"),
        (WorkersBusy("all at work"), "internal_error"),
        (KeyError("a bug"), "internal_error"),
    ],
)
def test_what_passes_is_tried_again_and_not_for_ever(error: Exception, code: str) -> None:
    first = verdict(error, head(), SPEC)
    assert isinstance(first, Again)
    assert 0 < first.seconds <= 5
    last = verdict(error, head(tries=2), SPEC)
    assert isinstance(last, GivenUp)
    assert last.error["code"] == code
    assert "bug" not in last.error["message"]


def test_a_provider_says_when_to_come_back_within_reason() -> None:
    asked = verdict(ProviderDown("busy", retry_after=30.0), head(), SPEC)
    forever = verdict(ProviderDown("busy", retry_after=1e9), head(), SPEC)
    assert isinstance(asked, Again)
    assert isinstance(forever, Again)
    assert (asked.seconds, forever.seconds) == (30.0, MAX_REST_SECONDS)


def test_a_key_in_what_a_provider_says_is_not_shown() -> None:
    decided = verdict(Refused(502, "key sk-1234567890abcdefghij is wrong", "x"), head(), SPEC)
    assert "1234567890" not in decided.error["message"]


def told(*events: tuple[str, str | None]) -> Sequence[Milestone]:
    return [
        Milestone(number=number, event=event, step=step, percent=0.0, at=float(number))
        for number, (event, step) in enumerate(events, 1)
    ]


def test_steps_are_as_far_as_the_job() -> None:
    history = told(("queued", None), ("started", None), ("step", "a"), ("step", "b"))
    states = step_states("running", "b", SPEC.steps, history)
    assert [(each.state, each.started_at, each.finished_at) for each in states] == [
        ("completed", 3.0, 4.0),
        ("running", 4.0, None),
        ("waiting", None, None),
    ]
    failed = step_states("failed", "b", SPEC.steps, [*history, *told(("failed", "b"))])
    assert [each.state for each in failed] == ["completed", "failed", "waiting"]


def test_another_round_begins_with_the_first_step() -> None:
    history = told(("queued", None), ("step", "a"), ("step", "b"), ("failed", "b"), ("queued", None))
    states = step_states("queued", None, SPEC.steps, history)
    assert [(each.state, each.started_at) for each in states] == [("waiting", None)] * 3


def test_a_token_names_the_job_it_was_made_for_and_no_other() -> None:
    keys = ["new" * 20, "old" * 20]
    made = token(keys, JOB)
    assert job_of(keys, made) == JOB
    assert job_of(keys[::-1], made) == JOB
    assert job_of(["another" * 10], made) is None
    assert job_of(keys, made.replace("a" * 32, "b" * 32)) is None
    assert [job_of(keys, text) for text in ("", JOB, f"{JOB}.", f"{JOB}.{'0' * 48}", made + "0", "é" * 80)] == [
        None
    ] * 6
    with pytest.raises(ValueError, match="no key"):
        token([], JOB)


@pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b"{}", b'{"milestone": 1}', b"null", b"7"])
def test_what_is_no_glance_says_nothing(data: bytes | None) -> None:
    assert read_glance(data) is None


def test_a_glance_is_read_as_it_was_written() -> None:
    glance = Glance(3, "running", "generate", 41.2)
    assert read_glance(glance.to_json()) == glance


def test_texts_become_what_a_column_holds() -> None:
    assert storable({"a\x00": ["b\x00", 1, None, {"c": "\x00"}]}) == {"a\ufffd": ["b\ufffd", 1, None, {"c": "\ufffd"}]}

"""What a try of a job means that did not end well: another one, or its end."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from common.events.backoff import Backoff
from common.failures import Park, Refused, Retry
from common.jobs.job_spec import JobSpec
from common.jobs.job_store import JobHead
from common.jobs.work import shown_error
from common.kernel.worker_processes import TooDear, WorkersBusy

# A bug may have been a race.
BUG_RETRIES = Backoff(attempts=2, first=1.0, ceiling=5.0)
# A process that dies over a job, again and again at the same step: it would take the others with it for good.
MAX_DEATHS = 8
# Whatever a provider asks for, a job is tried again after this long.
MAX_REST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Again:
    """Try it again so many seconds from now."""

    seconds: float
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It failed."""

    error: dict[str, Any]


def verdict(error: Exception, head: JobHead, spec: JobSpec[Any, Any]) -> Again | GivenUp:
    """What follows from what a job raised."""
    if isinstance(error, Refused):
        return GivenUp(shown_error(error))
    if isinstance(error, Park):
        return GivenUp({"message": str(error), "code": "impossible"})
    if isinstance(error, TooDear):
        return GivenUp({"message": f"It was given up: {error}.", "code": "too_dear"})
    if isinstance(error, Retry | WorkersBusy):
        return _again(spec.retry, head, error)
    return _again(BUG_RETRIES, head, error)


def _again(backoff: Backoff, head: JobHead, error: Exception) -> Again | GivenUp:
    seconds, shown = backoff.delay(head.tries + 1), shown_error(error)
    if seconds is None:
        return GivenUp(shown)
    asked = getattr(error, "retry_after", None)
    return Again(min(max(seconds, asked or 0.0), MAX_REST_SECONDS), shown)


def unfit(error: ValidationError) -> dict[str, Any]:
    """Why an input does not fit its kind."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return {"message": f"Invalid '{where}': {first['msg']}.", "code": "invalid_input"}


DIED = {"message": "Whoever worked on it died, again and again at the same step.", "code": "worker_died"}
TOO_LATE = {"message": "It was not done before its deadline.", "code": "deadline_exceeded"}

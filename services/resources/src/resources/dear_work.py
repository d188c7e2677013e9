"""Checks and comparisons whose cost a caller chooses: done in a worker process, refused where they take too long."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkerProcesses, WorkersBusy

P = ParamSpec("P")
T = TypeVar("T")

# What the workers import before their first call.
MODULES = ("resources.catalogue.validation", "resources.drafting.judge", "resources.active.revision_diff")
RETRY_AFTER_SECONDS = 5


async def checked(
    workers: WorkerProcesses, org_id: str, param: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What a check returns or raises; raises `Refused` 400 `too_dear` for what takes too long, 503 where all work."""
    try:
        return await workers.run(org_id, function, *args, **kwargs)
    except TooDear as error:
        raise Refused(400, f"'{param}' cannot be checked: {error}.", "too_dear", param) from None
    except WorkersBusy as error:
        raise busy(error) from None


def busy(error: WorkersBusy) -> Refused:
    """503, and when to come back."""
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
    return Refused(503, f"Not done: {error}.", "busy", type="server_error", headers=headers)

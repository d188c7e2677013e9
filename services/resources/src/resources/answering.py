"""How a use case becomes a handler: what it raises turns into the answer of the caller."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from common.events.envelope import Event
from common.kernel.consumer import Handler
from common.kernel.replies import Reply, error_body
from common.kernel.verdicts import Retry
from resources import metrics
from resources.deps import Deps
from resources.ports import ProviderDown, Refused
from resources.work import Repeated

UseCase = Callable[[Event[Any], Deps], Awaitable[Reply]]


def answered(use_case: UseCase) -> Handler[Deps]:
    """The handler of a question or command: somebody waits, so every outcome that is no bug is an answer."""

    @wraps(use_case)
    async def handler(event: Event[Any], deps: Deps) -> Reply:
        try:
            return await _patiently(use_case, event, deps)
        except Repeated as repeated:
            return repeated.reply
        except Refused as refused:
            metrics.RESOURCE_REFUSALS.labels(refused.code).inc()
            return refusal(refused)
        except ProviderDown as down:
            metrics.RESOURCE_REFUSALS.labels("provider_unavailable").inc()
            return provider_down(down)

    return handler


async def _patiently(use_case: UseCase, event: Event[Any], deps: Deps) -> Reply:
    """Try again while the database is away, as often as the event allows and somebody waits.

    A repetition is safe: it has the same event id. Without anybody to tell, the verdict goes to the kernel.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await use_case(event, deps)
        except Retry:
            if event.reply_to is None:
                raise
            delay = event.spec.retry.delay(attempt)
            if delay is None or _past(event, delay):
                return database_away()
            await asyncio.sleep(delay)


def _past(event: Event[Any], delay: float) -> bool:
    return event.deadline is not None and time.time() + delay >= event.deadline


def refusal(refused: Refused) -> Reply:
    """The error shape, with the details beside its four members."""
    body = error_body(refused.message, type=refused.type, code=refused.code, param=refused.param)
    return Reply({"error": {**refused.details, **body["error"]}}, status=refused.status)


def provider_down(down: ProviderDown) -> Reply:
    """502 for a provider that failed us, with its status; 503 for one that says or shows that it is away."""
    body = error_body(down.message, type="api_error", code="provider_unavailable")
    away = down.status is None or down.retry_after is not None
    known = {"provider_status": down.status, "retry_after": down.retry_after}
    body["error"].update({name: value for name, value in known.items() if value is not None})
    return Reply(body, status=503 if away else 502)


def database_away() -> Reply:
    """503: nothing can be read or changed at the moment."""
    message = "Resources cannot be reached at the moment."
    return Reply(error_body(message, type="server_error", code="database_unavailable"), status=503)

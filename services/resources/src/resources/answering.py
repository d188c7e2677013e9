"""How a use case becomes a handler: what it raises turns into the answer of the caller."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from common.events.envelope import Event
from common.events.reply import Reply, error_body
from common.events.resources import RESOURCE_COMMANDS
from common.failures import Retry
from resources import metrics
from resources.deps import Deps
from resources.ports import ProviderDown, Refused
from resources.work import Repeated

# What a provider is called where a stand-in answers for it.
SANDBOX = "sandbox"

UseCase = Callable[[Event[Any], Deps], Awaitable[Reply]]


def answered(use_case: UseCase) -> UseCase:
    """The handler of a question or command: somebody waits, so every outcome that is no bug is an answer.

    While the database is away it is tried again, as often as the event allows and the caller waits; that is safe,
    since a repetition has the same event id. Without a caller to tell, the verdict goes to the kernel.
    """

    @wraps(use_case)
    async def handler(event: Event[Any], deps: Deps) -> Reply:
        attempt = 0
        while True:
            attempt += 1
            try:
                return _marked(await _outcome(use_case, event, deps), event.payload.org_id, deps)
            except Retry:
                if event.reply_to is None:
                    raise
                delay = event.spec.retry.delay(attempt)
                if delay is None or _too_late(event, delay):
                    return database_away()
                await asyncio.sleep(delay)

    return handler


def _marked(reply: Reply, org_id: str, deps: Deps) -> Reply:
    """The reply, marked where the sandbox stands in for the provider that keeps the organisation's resources."""
    if org_id not in deps.catalogues.chosen or deps.provider_of(org_id).tokens.provider != SANDBOX:
        return reply
    return replace(reply, headers={**reply.headers, "x-sonant-provider": SANDBOX})


def _too_late(event: Event[Any], delay: float) -> bool:
    return event.deadline is not None and time.time() + delay >= event.deadline


async def _outcome(use_case: UseCase, event: Event[Any], deps: Deps) -> Reply:
    try:
        return await use_case(event, deps)
    except Repeated as repeated:
        return repeated.reply
    except Refused as refused:
        # A command that was done may be refused now because it was: its name is taken, its subject gone.
        done = await deps.works.answer_to(event.id) if event.spec.topic == RESOURCE_COMMANDS else None
        return done or refusal(refused)
    except ProviderDown as down:
        return provider_down(down)


def refusal(refused: Refused) -> Reply:
    """The error shape, with the details beside its four members."""
    metrics.RESOURCE_REFUSALS.labels(refused.code).inc()
    body = error_body(refused.message, type=refused.type, code=refused.code, param=refused.param)
    return Reply({"error": {**refused.details, **body["error"]}}, status=refused.status)


def provider_down(down: ProviderDown) -> Reply:
    """502 with the provider's status where it answered; 503 where it did not, or says when to come back."""
    metrics.RESOURCE_REFUSALS.labels("provider_unavailable").inc()
    body = error_body(down.message, type="api_error", code="provider_unavailable")
    if down.status is not None:
        body["error"]["provider_status"] = down.status
    away = down.status is None or down.retry_after is not None
    headers = {} if down.retry_after is None else {"retry-after": str(math.ceil(down.retry_after))}
    return Reply(body, 503 if away else 502, headers)


def database_away() -> Reply:
    """503: nothing can be read or changed at the moment."""
    message = "Resources cannot be reached at the moment."
    body = error_body(message, type="server_error", code="database_unavailable")
    return Reply(body, 503, {"retry-after": "1"})

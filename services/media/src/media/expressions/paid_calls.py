"""Calls that cost, and whose answer the provider does not keep: never made twice."""

from collections.abc import Awaitable, Callable
from typing import Any

from common.events.backoff import Backoff
from common.failures import ProviderDown, Refused
from media.expressions.measured import AnswerLost, ExpressionWork
from media.ports import NeverSent

# Of a call that was certainly not served: the provider said so, or was not reached.
TRIES = Backoff(attempts=3, first=0.5, ceiling=8.0)


async def paid_once(
    work: ExpressionWork, key: str, provider: str, operation: str, call: Callable[[], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """The answer to a call: made now, or remembered.

    That it is made is remembered before it is. Raises AnswerLost where it was made and its answer is not known.
    """
    answered: dict[str, Any] | None = await work.recall(f"answer:{key}")
    if answered is not None:
        return answered
    attempt = 0
    while True:
        attempt += 1
        if await work.recall(f"asked:{key}") is not None:
            raise AnswerLost("The provider was asked before, and its answer was lost: it is not asked and paid again.")
        await work.remember(f"asked:{key}", True)
        try:
            async with work.attempt(provider, operation):
                answer = await call()
        except Refused:
            await work.forget(f"asked:{key}")
            raise
        except ProviderDown as down:
            if not certainly_not_done(down):
                raise AnswerLost(f"The answer of the provider was lost: {down.message}") from down
            await work.forget(f"asked:{key}")
            delay = TRIES.delay(attempt)
            if delay is None:
                raise
            await work.sleep(max(delay, min(down.retry_after or 0.0, 30.0)))
            continue
        await work.remember(f"answer:{key}", answer)
        return answer


def certainly_not_done(down: ProviderDown) -> bool:
    """Whether it is known that nothing was done: nothing was sent, or the provider answered that it failed."""
    return isinstance(down, NeverSent) or down.status is not None

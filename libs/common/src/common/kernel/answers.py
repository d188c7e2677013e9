"""How a use case becomes an answer: whoever waits gets one, unless the use case has a bug."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic

from prometheus_client import Counter

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.spec import RequestSpec, Topic
from common.failures import ProviderDown, Refused, Retry
from common.kernel.handlers import D, Handler, Handlers
from common.storage.unit_of_work import Answer, Repeated

Act = Callable[[Event[Any], D], Awaitable[Reply[Any] | None]]


@dataclass(frozen=True, slots=True)
class Answers(Generic[D]):
    """How the requests of a service are answered beyond what its use cases say.

    `refusals` counts by code. `unavailable` is the answer where the store does not answer in time. `done` finds the
    answer to a command (on the topic `commands`) that was done before. `headers` go with every other answer.
    """

    refusals: Counter
    unavailable: Refused
    commands: Topic
    done: Callable[[D, Event[Any]], Awaitable[Answer | None]]
    headers: Callable[[D, Event[Any]], Mapping[str, str]] = lambda deps, event: {}

    def of(self, table: Handlers[D]) -> Handlers[D]:
        """The table with its requests answered so; facts are handled as they are.

        While the store is away a request is tried again, as often as its event allows and the caller waits. That is
        safe, since a repetition has the same event id. Without a caller the failure goes to the kernel.
        """
        return tuple(
            replace(handler, act=self._answered(handler)) if isinstance(handler.spec, RequestSpec) else handler
            for handler in table
        )

    def _answered(self, handler: Handler[D]) -> Act[D]:
        async def act(event: Event[Any], deps: D) -> Reply[Any] | None:
            answer = await self._patiently(handler.act, event, deps)
            if isinstance(answer, Refused):
                try:
                    raise answer
                finally:
                    # It knows this frame by its traceback: the frame must not know it, or the command stays with both.
                    del answer
            return answer

        return act

    async def _patiently(self, act: Act[D], event: Event[Any], deps: D) -> Answer | None:
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._outcome(act, event, deps)
                return answer and replace(answer, headers={**answer.headers, **self.headers(deps, event)})
            except Retry:
                if event.reply_to is None:
                    raise
                delay = event.spec.retry.delay(attempt)
                if delay is None or _too_late(event, delay):
                    return replace(self.unavailable)
                await asyncio.sleep(delay)

    async def _outcome(self, act: Act[D], event: Event[Any], deps: D) -> Answer | None:
        try:
            return await act(event, deps)
        except Repeated as repeated:
            return repeated.answer
        except Refused as refused:
            # A command that was done may be refused now because it was: its name is taken, its subject gone.
            done = await self.done(deps, event) if event.spec.topic == self.commands else None
            return done or self._counted(refused)
        except ProviderDown as down:
            return self._counted(provider_refusal(down))

    def _counted(self, refused: Refused) -> Refused:
        self.refusals.labels(refused.code).inc()
        return refused


def provider_refusal(down: ProviderDown) -> Refused:
    """502 with the provider's status where it answered; 503 where it did not, or says when to come back."""
    details = {} if down.status is None else {"provider_status": down.status}
    away = down.status is None or down.retry_after is not None
    headers = {} if down.retry_after is None else {"retry-after": str(math.ceil(down.retry_after))}
    return Refused(
        503 if away else 502,
        down.message,
        "provider_unavailable",
        type="api_error",
        details=details,
        headers=headers,
    )


def _too_late(event: Event[Any], delay: float) -> bool:
    return event.deadline is not None and time.time() + delay >= event.deadline

"""Which models there are: asked of llm-stream, and remembered for a few seconds."""

import asyncio
import time

import structlog

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.events.chat import CHAT_MODELS_REQUESTED, ChatModelsRequested
from common.kernel.tasks import Tasks
from gateway.http.errors import not_found, unavailable

log = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0
# A name that is not there is asked for again at most this often, however many callers insist.
MISS_SECONDS = 1.0
ASK_TIMEOUT = 3.0


class Models:
    """The model aliases, refreshed by one question at a time; stale ones serve while llm-stream is away."""

    def __init__(self, asker: Requester, tasks: Tasks) -> None:
        self._asker = asker
        self._tasks = tasks
        self._names: frozenset[str] | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def names(self) -> list[str]:
        """All aliases. Raises ApiError 503 when they were never heard of."""
        return sorted(await self._known(FRESH_SECONDS))

    async def check(self, name: str) -> None:
        """Raises ApiError 404 for a model that does not exist, 503 when nobody can tell.

        A name that was there passes at once and is looked up again behind the request's back: llm-stream
        refuses a model that has gone.
        """
        if self._names is not None and name in self._names:
            if time.monotonic() - self._asked_at > FRESH_SECONDS and not self._asking.locked():
                self._tasks.spawn(self._known(FRESH_SECONDS), "refresh-models")
            return
        if name not in await self._known(FRESH_SECONDS) and name not in await self._known(MISS_SECONDS):
            raise not_found(f"The model '{name}' does not exist.", "model", "model_not_found")

    async def _known(self, freshness: float) -> frozenset[str]:
        async with self._asking:
            if time.monotonic() - self._asked_at > freshness:
                await self._ask()
        if self._names is None:
            raise unavailable("The model service does not answer.")
        return self._names

    async def _ask(self) -> None:
        try:
            reply = await self._asker.ask(CHAT_MODELS_REQUESTED, ChatModelsRequested(), timeout=ASK_TIMEOUT)
        except (TimeoutError, BusUnavailableError) as error:
            log.warning("models not refreshed", error=str(error))
            # Stale names serve; whoever waits in line for a first answer must not ask and wait all over again.
            self._asked_at = time.monotonic() - FRESH_SECONDS + MISS_SECONDS
            return
        self._names = frozenset(reply.body.models)
        self._asked_at = time.monotonic()

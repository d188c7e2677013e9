"""The model list: asked of llm-stream, and remembered for a few seconds."""

import asyncio
import time

import structlog

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.events.chat import CHAT_MODELS_REQUESTED, ChatModelsRequested
from common.failures import Refused
from common.kernel.tasks import Tasks
from gateway.http.errors import not_found, unavailable

log = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0
# A name that is not there is asked for again at most this often, however many callers insist.
MISS_SECONDS = 1.0
REFRESH_SECONDS = 3.0


class KnownModels:
    """The model aliases, refreshed by one query at a time; stale ones serve while llm-stream is away."""

    def __init__(self, requester: Requester, tasks: Tasks) -> None:
        self._requester = requester
        self._tasks = tasks
        self._names: frozenset[str] | None = None
        self._refreshed_at = float("-inf")
        self._refreshing = asyncio.Lock()

    async def names(self) -> list[str]:
        """All aliases. Raises Refused 503 when llm-stream never answered."""
        return sorted(await self._known(FRESH_SECONDS))

    async def check(self, name: str) -> None:
        """Raises Refused 404 for a model that does not exist, 503 while that is not known.

        A name that was there passes at once and is refreshed in the background: llm-stream
        refuses a model that has gone.
        """
        if self._names is not None and name in self._names:
            if time.monotonic() - self._refreshed_at > FRESH_SECONDS and not self._refreshing.locked():
                self._tasks.spawn(self._known(FRESH_SECONDS), "refresh-models")
            return
        if name not in await self._known(FRESH_SECONDS) and name not in await self._known(MISS_SECONDS):
            raise not_found(f"The model '{name}' does not exist.", "model", "model_not_found")

    async def _known(self, freshness: float) -> frozenset[str]:
        async with self._refreshing:
            if time.monotonic() - self._refreshed_at > freshness:
                await self._refresh()
        if self._names is None:
            raise unavailable("The model service does not answer.")
        return self._names

    async def _refresh(self) -> None:
        try:
            reply = await self._requester.ask(CHAT_MODELS_REQUESTED, ChatModelsRequested(), timeout=REFRESH_SECONDS)
        except (TimeoutError, BusUnavailableError, Refused) as error:
            log.warning("models not refreshed", error=str(error))
            # Stale names serve. Whoever waits in line for the first answer must not ask and wait all over again.
            self._refreshed_at = time.monotonic() - FRESH_SECONDS + MISS_SECONDS
            return
        self._names = frozenset(reply.body.models)
        self._refreshed_at = time.monotonic()

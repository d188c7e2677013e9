"""Usage settlement of limited keys: an answer is settled when it has ended, whoever reads it by then."""

import asyncio
from contextlib import ExitStack

from common.kernel.tasks import Tasks
from gateway.chat.stream import Stream
from gateway.chat.streams import Streams
from gateway.http.limits import Limits
from gateway.ports import Caller

# The last frame may come a moment after the deadline that ended the answer.
LATE_SECONDS = 2.0
# On shutdown, the answers just cut off may still report what they cost.
CLOSING_SECONDS = 1.0


class UsageSettlement:
    """Settles answers beside their requests; a client that left is charged what was generated for it."""

    def __init__(self, limits: Limits, streams: Streams, tasks: Tasks) -> None:
        self._limits = limits
        self._streams = streams
        self._tasks = tasks
        self._open: set[asyncio.Task[None]] = set()

    def settle(
        self, caller: Caller, stream: Stream, held: ExitStack, *, reserved: int | None, deadline: float, grace: float
    ) -> None:
        """Settle an answer at its end, by `deadline` (unix seconds) and a moment at the latest; `held` is closed then.

        Without an end all that was `reserved` stays charged; None charges nothing and frees the slot alone. `grace`
        is how many seconds the answer goes on without a client.
        """
        settling = self._settle(caller, stream, held, reserved=reserved, deadline=deadline, grace=grace)
        task = self._tasks.spawn(settling, "settle")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _settle(
        self, caller: Caller, stream: Stream, held: ExitStack, *, reserved: int | None, deadline: float, grace: float
    ) -> None:
        try:
            with held:
                await self._streams.rest(stream, deadline + LATE_SECONDS, grace)
        finally:
            charged = reserved or 0
            used = charged if reserved is None or stream.used_tokens is None else stream.used_tokens
            await self._limits.settle(caller, stream.request_id, charged, used)

    async def aclose(self) -> None:
        """Settle what is open: at its end where that comes soon, else as if it never came."""
        if not self._open:
            return
        _, late = await asyncio.wait(self._open, timeout=CLOSING_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

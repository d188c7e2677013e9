"""What the end of an API key does to the answers that are being written for it."""

from collections.abc import Awaitable, Callable

from common.failures import Refused
from common.kernel.tasks import Tasks
from gateway.chat.open_streams import OpenStreams


class Revocation:
    """Ends the open answers of a key that has ended; `is_live` says whether one has not, and may raise Refused."""

    def __init__(self, is_live: Callable[[str], Awaitable[bool]], opened: OpenStreams, tasks: Tasks) -> None:
        self._is_live = is_live
        self._opened = opened
        self._tasks = tasks

    def on_changed(self, key_id: str) -> None:
        """A key was changed: with overlap it goes on for a while, otherwise it has ended."""
        if self._opened.has_key(key_id):
            self._tasks.spawn(self._end(key_id), "end-answers-of-key")

    async def _end(self, key_id: str) -> None:
        try:
            live = await self._is_live(key_id)
        except Refused:
            # The database went away meanwhile; the change is found again when it is back.
            return
        if not live:
            self._opened.revoke(key_id)

"""The client for programs that await; the names are the same."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from huggingplace.hugging_place import FLUSH_SECONDS, BaseClient
from huggingplace.interaction import LogFields, ScoreValue, SessionFields
from huggingplace.session_log import AsyncSession, SessionState

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from huggingplace.options import Settings


class AsyncHuggingPlace(BaseClient):
    """As `HuggingPlace`. `log` and `score` wait for nothing: what they do takes as long as there."""

    if TYPE_CHECKING:

        def __init__(
            self,
            api_key: str | None = None,
            org_id: str | None = None,
            mode: str | None = None,
            **settings: Unpack[Settings],
        ) -> None: ...

    async def log(self, **fields: Unpack[LogFields]) -> str:
        """As `HuggingPlace.log`."""
        return self._recorder.log(fields)

    async def score(self, interaction_id: str, name: str, value: ScoreValue, **given: Any) -> str:
        """As `HuggingPlace.score`."""
        return self._recorder.score(interaction_id, name, value, given)

    def start_session(self, session_id: str | None = None, **defaults: Unpack[SessionFields]) -> AsyncSession:
        """As `HuggingPlace.start_session`."""
        return AsyncSession(SessionState(self._recorder, session_id, defaults))

    async def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """As `HuggingPlace.flush`; the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(None, self._keeper.flush, timeout)

    async def close(self, timeout: float | None = None) -> bool:
        """As `HuggingPlace.close`; the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(None, self._close, timeout)

    async def __aenter__(self) -> AsyncHuggingPlace:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

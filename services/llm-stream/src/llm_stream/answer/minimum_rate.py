"""An answer that comes too slowly is given up while another upstream could go on."""

import asyncio
from types import TracebackType
from typing import Self

from llm_stream.answer.attempt import Attempt
from llm_stream.ports import UpstreamAnswer, UpstreamBroken

# Shorter pauses are those of any healthy server; a window is longer where fewer than two tokens would be due in it.
WINDOW_SECONDS = 5.0
LEAST_DUE = 2.0


class MinimumRate:
    """While an answer is relayed, looks once a window whether enough of it came; closes the upstream where not.

    Nothing is looked for before the first token: until then silence has a limit of its own. Leaving it raises
    UpstreamBroken where the upstream was too slow.
    """

    def __init__(self, attempt: Attempt, incoming: UpstreamAnswer, window: float = WINDOW_SECONDS) -> None:
        self._attempt = attempt
        self._incoming = incoming
        self._rate = attempt.patience.minimum_rate
        self._window = max(window, LEAST_DUE / self._rate)
        self._before = 0
        self._too_slow = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._window, self._look)
        return self

    def _look(self) -> None:
        before, self._before = self._before, self._attempt.estimated_tokens
        if before and self._before - before < self._rate * self._window:
            self._too_slow = True
            self._incoming.close()
        else:
            self._timer = self._loop.call_later(self._window, self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._too_slow and isinstance(error, UpstreamBroken):
            slow = f"the answer came with less than {self._rate:g} tokens a second"
            raise UpstreamBroken(slow, silent=True) from error

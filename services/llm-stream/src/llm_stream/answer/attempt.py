"""One attempt at one upstream: its state while it is under way, and what came of it."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog

from common.events import chat
from common.events.backoff import Backoff
from common.events.token_estimate import answer_tokens
from common.metrics import labelled
from common.providers.shared_breaker import CallerBreaker
from common.redaction import redact_text
from llm_stream.aliases import Upstream
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.gate import CutShort
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.metrics import ATTEMPT_SECONDS, ATTEMPTS
from llm_stream.ports import Patience, UpstreamAnswer, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused

log = structlog.get_logger(__name__)

# A rate limit without a Retry-After: seconds are the scale of a provider's window.
BUSY_BACKOFF = Backoff(attempts=5, first=1.0, ceiling=8.0)
# Whatever a Retry-After says, an upstream is asked again after this long.
MAX_REST_SECONDS = 300.0
# What the caller alone cut short was generated for it, and is billed.
# What ends an attempt on our side, and says nothing about its upstream.
ENDED_HERE = (asyncio.CancelledError, AnswerFailed, CutShort)
BILLED = frozenset({"stopped", "completed"})


class Attempt:
    """One attempt, used as a context: its end tells the breaker, and measures.

    An `UpstreamError` ends the context quietly and stays in `error`: another attempt may follow. An attempt that was
    left without `completed` was stopped, which says nothing about the upstream.
    """

    def __init__(
        self, prepared: PreparedRequest, upstream: Upstream, breaker: CallerBreaker, patience: Patience, number: int
    ) -> None:
        self.prepared = prepared
        self.upstream = upstream
        self.patience = patience
        self.incoming: UpstreamAnswer | None = None  # while it is open
        self.tokens = 0  # content deltas that arrived
        self.characters = 0  # of all they say
        self.first_byte_at: float | None = None
        self.error: UpstreamError | None = None
        self.outcome = ""
        self._breaker = breaker
        self._number = number  # of the attempts at this upstream in this turn, from 1
        self._completed = False
        self._started_at = time.time()
        self._started = time.monotonic()
        self._seconds = 0.0

    @property
    def estimated_tokens(self) -> int:
        """What was generated, where the upstream does not say."""
        return answer_tokens(self.tokens, self.characters)

    @property
    def provider_headers(self) -> dict[str, str]:
        """For the HTTP response: every answer from the sandbox says so, and how its request was prepared."""
        provider = self.upstream.provider
        headers = {"x-sonant-provider": provider} if provider == "sandbox" else {}
        prepared = self.prepared.headers
        return headers | prepared if prepared else headers

    def completed(self) -> None:
        """All of the answer was heard."""
        self._completed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.incoming = None
        self._seconds = time.monotonic() - self._started
        # Its traceback would keep this attempt, and all it knows, until the next collection.
        self.error = error.with_traceback(None) if isinstance(error, UpstreamError) else None
        self.outcome = self._judge(error)
        self._measure()
        return self.error is not None

    def _judge(self, error: BaseException | None) -> str:
        """Tell the breaker how the attempt ended; returns the name of the outcome."""
        if isinstance(error, UpstreamError):
            return self._judge_failure(error)
        if error is None and self._completed:
            self._breaker.succeeded()
            return "completed"
        self._breaker.left()
        return "stopped" if error is None or isinstance(error, ENDED_HERE) else "bug"

    def _judge_failure(self, error: UpstreamError) -> str:
        if isinstance(error, UpstreamBusy):
            self._rest(error)
            return "busy"
        if isinstance(error, UpstreamRefused):
            # Of what a request itself causes nothing can be learnt about the upstream.
            self._breaker.left()
            return "refused"
        if error.code == "unconfigured":
            # Nobody was asked.
            self._breaker.left()
        else:
            self._breaker.failed()
            if isinstance(error, UpstreamBroken) and error.retry_after is not None:
                self._breaker.rest(min(error.retry_after, MAX_REST_SECONDS), rate_limited=False)
        return "broken"

    def _rest(self, busy: UpstreamBusy) -> None:
        """Leave a busy upstream alone: as long as it wants, or with jitter."""
        if busy.exhausted:
            # No rest helps; like a broken upstream it is skipped after a while and probed.
            self._breaker.failed()
            return
        wanted = busy.retry_after
        seconds = wanted if wanted is not None else BUSY_BACKOFF.delay(self._number) or 0.0
        self._breaker.rest(min(seconds, MAX_REST_SECONDS))

    def _measure(self) -> None:
        name = self.upstream.name
        labelled(ATTEMPTS, name, self.outcome).inc()
        labelled(ATTEMPT_SECONDS, name).observe(self._seconds)
        if self.error is not None:
            log.warning("attempt failed", upstream=name, outcome=self.outcome, error=str(self.error))

    def record(self) -> chat.Attempt:
        """The attempt as the fact about the turn tells it; it has ended."""
        error, heard_at = self.error, self.first_byte_at
        return chat.Attempt(
            upstream=self.upstream.name,
            model=self.upstream.model,
            outcome=self.outcome,
            status=None if error is None else error.status,
            # A provider that refuses our key quotes a part of it.
            error=None if error is None else redact_text(str(error))[:500],
            started_at=self._started_at,
            duration_ms=round(self._seconds * 1000, 3),
            first_byte_ms=None if heard_at is None else round((heard_at - self._started_at) * 1000, 3),
        )


class Attempts:
    """All attempts for one answer, in order, whichever alias they were made for."""

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []

    def add(self, attempt: Attempt) -> None:
        """The attempt that begins now."""
        self._attempts.append(attempt)

    @property
    def made(self) -> Sequence[Attempt]:
        """All of them, in order."""
        return self._attempts

    @property
    def last(self) -> Attempt:
        """The one that was made last; there is one."""
        return self._attempts[-1]

    @property
    def generated_tokens(self) -> int:
        """Content deltas that arrived from all upstreams."""
        return sum(attempt.tokens for attempt in self._attempts)

    @property
    def billed(self) -> Attempt | None:
        """The last attempt; None where it failed, since what it cost is not the caller's."""
        last = self._attempts[-1] if self._attempts else None
        return last if last is not None and last.outcome in BILLED else None

    def records(self) -> tuple[chat.Attempt, ...]:
        """All attempts as the fact tells them."""
        return tuple(attempt.record() for attempt in self._attempts)

    def hold_upstream(self, held: bool) -> None:
        """Read nothing more from the attempt under way, or read on."""
        if self._attempts and (incoming := self._attempts[-1].incoming) is not None:
            if held:
                incoming.pause()
            else:
                incoming.resume()

    def close_upstream(self) -> None:
        """Close the connection of the attempt under way, now."""
        if self._attempts and (incoming := self._attempts[-1].incoming) is not None:
            incoming.close()

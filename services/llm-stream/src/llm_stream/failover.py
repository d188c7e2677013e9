"""Who is asked next, for how long, and what a failure means: the policy of every path, streaming or not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from common.events.chat import Attempt, ReplyError
from common.kernel.retry import Backoff
from llm_stream.breaker import Breaker
from llm_stream.metrics import ATTEMPT_SECONDS, ATTEMPTS, BREAKER_OPEN
from llm_stream.models import Alias, Upstream
from llm_stream.ports import Patience, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF = Backoff(attempts=5, first=0.2, ceiling=2.0)
# Without a Retry-After a rate-limited upstream is left alone this long while others can answer.
BUSY_REST_SECONDS = 1.0
# A caller would rather hear "try later" than wait longer than this for a rate limit.
LONGEST_WAIT_SECONDS = 10.0
# Kept back from the deadline, so that the error still reaches the caller in time.
RESERVE_SECONDS = 0.5
SHORTEST_ATTEMPT_SECONDS = 0.1


class ReplyFailed(Exception):
    """No upstream gave a whole answer; `error` is what the client is told."""

    def __init__(self, error: ReplyError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after


class TooLong(Exception):
    """The conversation does not fit this alias, and it names a larger one."""


class Breakers:
    """One breaker per upstream, by name and address, bounded by the models file."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, str, str], Breaker] = {}

    def of(self, upstream: Upstream) -> Breaker:
        key = (upstream.name, upstream.base_url, upstream.model)
        return self._breakers.setdefault(key, Breaker())


@dataclass(slots=True)
class Attempts:
    """The tries of one turn, in order; `try_one` is handed an upstream and its patience."""

    alias: Alias
    deadline: float
    breakers: Breakers
    needs_tools: bool
    made: list[Attempt] = field(default_factory=list)
    may_continue: Callable[[], bool] = lambda: True

    async def run(self, try_one: Callable[[Upstream, Patience], Awaitable[T]]) -> T:
        """The first whole answer. Raises ReplyFailed, or TooLong."""
        failure: UpstreamError | None = None
        capable = [u for u in self.alias.upstreams if not self.needs_tools or "tools" in u.capabilities]
        for position, upstream in enumerate(capable):
            others = len(capable) - position - 1
            for number in range(1, self.alias.tries + 1):
                breaker = self.breakers.of(upstream)
                patience = self._patience(self.alias.tries - number + others + 1)
                if patience is None or not breaker.try_enter():
                    break
                try:
                    return await self._attempt(upstream, patience, breaker, try_one)
                except UpstreamRefused as refused:
                    raise self._refused(refused) from refused
                except UpstreamError as error:
                    failure = error
                if not self.may_continue():
                    raise failed(failure) from failure
                pause = self._pause(failure, number, others)
                if pause is None:
                    break
                await asyncio.sleep(pause)
        raise self._given_up(capable, failure) from failure

    def _patience(self, tries_left: int) -> Patience | None:
        """An equal share of what is left of the deadline, within the alias's own limits."""
        left = self.deadline - time.time() - RESERVE_SECONDS
        share = left / max(1, tries_left)
        if share < SHORTEST_ATTEMPT_SECONDS:
            return None
        return Patience(
            connect=min(self.alias.connect_timeout, share),
            first_byte=min(self.alias.first_byte_timeout, share),
            idle=min(self.alias.idle_timeout, max(left, SHORTEST_ATTEMPT_SECONDS)),
        )

    async def _attempt(
        self,
        upstream: Upstream,
        patience: Patience,
        breaker: Breaker,
        try_one: Callable[[Upstream, Patience], Awaitable[T]],
    ) -> T:
        async with self._recorded(upstream, breaker) as outcome:
            try:
                answer = await try_one(upstream, patience)
            except UpstreamBusy as busy:
                outcome.name = "busy"
                breaker.rest(busy.retry_after if busy.retry_after is not None else BUSY_REST_SECONDS)
                raise
            except UpstreamRefused:
                outcome.name = "refused"
                breaker.succeeded()
                raise
            except UpstreamBroken:
                outcome.name = "broken"
                breaker.failed()
                raise
            except asyncio.CancelledError:
                outcome.name = "stopped"
                breaker.left()
                raise
            outcome.name = "completed"
            breaker.succeeded()
            return answer

    @asynccontextmanager
    async def _recorded(self, upstream: Upstream, breaker: Breaker) -> AsyncIterator["_Outcome"]:
        outcome = _Outcome()
        started_at, started = time.time(), time.monotonic()
        error: BaseException | None = None
        try:
            yield outcome
        except BaseException as raised:
            error = raised
            raise
        finally:
            seconds = time.monotonic() - started
            ATTEMPTS.labels(upstream.name, outcome.name).inc()
            ATTEMPT_SECONDS.labels(upstream.name).observe(seconds)
            BREAKER_OPEN.labels(upstream.name).set(breaker.state != "closed")
            self.made.append(
                Attempt(
                    upstream=upstream.name,
                    model=upstream.model,
                    outcome=outcome.name,
                    status=error.status if isinstance(error, UpstreamError) else None,
                    error=str(error)[:500] if isinstance(error, UpstreamError) else None,
                    started_at=started_at,
                    duration_ms=round(seconds * 1000, 3),
                )
            )
            if isinstance(error, UpstreamError):
                log.warning("attempt failed", upstream=upstream.name, outcome=outcome.name, error=str(error))

    def _pause(self, failure: UpstreamError, number: int, others: int) -> float | None:
        """Seconds to wait before asking the same upstream again, or None to move on."""
        if number >= self.alias.tries:
            return None
        if isinstance(failure, UpstreamBusy):
            if others or failure.exhausted:
                return None
            wait = failure.retry_after if failure.retry_after is not None else BACKOFF.delay(number)
            fits = wait is not None and wait <= min(LONGEST_WAIT_SECONDS, self.deadline - time.time() - RESERVE_SECONDS)
            return wait if fits else None
        if others and (failure.status is None or failure.code == "unconfigured"):
            # Silence and broken streams cost the caller's time: rather ask somebody else at once.
            return None
        return BACKOFF.delay(number)

    def _refused(self, refused: UpstreamRefused) -> Exception:
        if refused.too_long and self.alias.larger is not None:
            return TooLong()
        told = refused.error
        return ReplyFailed(
            ReplyError(
                status=refused.status or 400,
                message=str(refused),
                type=str(told.get("type") or "invalid_request_error"),
                code=refused.code,
                param=told.get("param") if isinstance(told.get("param"), str) else None,
            )
        )

    def _given_up(self, capable: list[Upstream], failure: UpstreamError | None) -> ReplyFailed:
        if failure is not None:
            return failed(failure)
        if not capable:
            message = "No upstream of this model can call tools."
            return ReplyFailed(ReplyError(status=400, message=message, type="invalid_request_error", param="tools"))
        wait = min(self.breakers.of(upstream).opens_in() for upstream in capable)
        message = "Every upstream of this model is resting after failures."
        error = ReplyError(status=503, message=message, type="server_error", code="upstreams_unavailable")
        return ReplyFailed(error, retry_after=max(1.0, wait))


@dataclass(slots=True)
class _Outcome:
    name: str = "bug"


def failed(failure: UpstreamError) -> ReplyFailed:
    """What the client is told about the last failure."""
    if isinstance(failure, UpstreamBusy):
        code = failure.code or "rate_limit_exceeded"
        error = ReplyError(status=429, message=str(failure), type="rate_limit_error", code=code)
        return ReplyFailed(error, retry_after=failure.retry_after)
    if failure.code == "unconfigured":
        message = f"The provider of this model is not configured: {failure}."
        return ReplyFailed(
            ReplyError(status=503, message=message, type="server_error", code="provider_unconfigured"), retry_after=60.0
        )
    silent = isinstance(failure, UpstreamBroken) and failure.silent
    return ReplyFailed(
        ReplyError(
            status=504 if silent else 502,
            message=f"The model could not answer: {failure}.",
            type="server_error",
            code="upstream_timeout" if silent else "upstream_error",
        )
    )


def merge_request(body: dict[str, Any], upstream: Upstream, *, stream: bool, released: str) -> dict[str, Any]:
    """The upstream's request: the caller's body with our model, our stream options, and what to continue from."""
    request = {**body, "model": upstream.model, "stream": stream}
    request["messages"] = [_plain(message) for message in body["messages"]]
    request.pop("stream_options", None)
    if stream and "stream_usage" in upstream.capabilities:
        request["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if released:
        request["messages"] += [
            {"role": "assistant", "content": released},
            {"role": "system", "content": "Continue the assistant's answer exactly where it stops. Repeat none of it."},
        ]
    return request


# Voice platforms put these on messages; OpenAI-compatible servers refuse what they do not know.
VOICE_FIELDS = frozenset({"models", "time", "type"})


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    if VOICE_FIELDS.isdisjoint(message):
        return message
    return {name: value for name, value in message.items() if name not in VOICE_FIELDS}

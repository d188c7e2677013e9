"""Who is asked next, for how long, and what a failure means: the policy of every path, streaming or not."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from common.events.backoff import Backoff
from common.events.chat import Attempt, ReplyError
from common.metrics import labelled
from common.providers.breaker import Breaker
from common.redaction import redact_text
from llm_stream.metrics import ATTEMPT_SECONDS, ATTEMPTS, BREAKER_OPEN
from llm_stream.models import Alias, Upstream
from llm_stream.ports import Patience, UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF = Backoff(attempts=5, first=0.2, ceiling=2.0)
# A rate limit without a Retry-After: seconds are the scale of a provider's window.
BUSY_BACKOFF = Backoff(attempts=5, first=1.0, ceiling=8.0)
# Everybody who waited for a rate limit comes back at once; this share of the wait spreads them.
CROWD_JITTER = 0.1
# Whatever a Retry-After says, an upstream is asked again after this long.
LONGEST_REST_SECONDS = 300.0
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
class _Candidate:
    """An upstream as one turn sees it: how often it may still be asked, and not before when (monotonic seconds)."""

    upstream: Upstream
    breaker: Breaker
    tries: int
    made: int = 0
    not_before: float = 0.0

    def ready_in(self) -> float:
        return max(0.0, self.not_before - time.monotonic(), self.breaker.rests_for())

    def failed(self, failure: UpstreamError) -> None:
        """Decide when this upstream may be asked again in this turn."""
        self.made += 1
        exhausted = isinstance(failure, UpstreamBusy) and failure.exhausted
        self.tries = 0 if exhausted or failure.ours else self.tries - 1
        self.not_before = time.monotonic() + (BACKOFF.delay(self.made) or 0.0)


@dataclass(slots=True)
class Attempts:
    """The tries of one turn, in order; `try_one` is handed an upstream and its patience.

    The first upstream that may be asked is asked: after a failure that is another one at once, or, where there is
    none, the same one after its backoff or the rest it asked for.
    """

    alias: Alias
    deadline: float
    breakers: Breakers
    needs_tools: bool
    streams: bool = True
    made: list[Attempt] = field(default_factory=list)
    may_continue: Callable[[], bool] = lambda: True
    # Unix seconds at which the attempt under way heard something, None until then.
    first_byte_at: Callable[[], float | None] = lambda: None

    async def run(self, try_one: Callable[[Upstream, Patience], Awaitable[T]]) -> T:
        """The first whole answer. Raises ReplyFailed, or TooLong."""
        candidates = [
            _Candidate(upstream, self.breakers.of(upstream), self.alias.tries)
            for upstream in self.alias.upstreams
            if not self.needs_tools or "tools" in upstream.capabilities
        ]
        failure: UpstreamError | None = None
        while (candidate := await self._next(candidates)) is not None:
            try:
                return await self._attempt(candidate, self._patience(candidates, candidate), try_one)
            except UpstreamRefused as refused:
                raise self._refused(refused) from refused
            except UpstreamError as error:
                candidate.failed(error)
                # What another upstream met says more than that one is not set up.
                failure = failure if failure is not None and error.ours else error
            if not self.may_continue():
                raise failed(failure) from failure
        raise self._given_up(candidates, failure) from failure

    async def _next(self, candidates: list[_Candidate]) -> _Candidate | None:
        """Whom to ask now, having waited where everybody rests; None when nobody is worth waiting for.

        An open breaker is not waited for: that would turn an outage into a queue.
        """
        while self._left() >= SHORTEST_ATTEMPT_SECONDS:
            usable = [candidate for candidate in candidates if candidate.tries > 0]
            for candidate in usable:
                if candidate.ready_in() <= 0 and candidate.breaker.try_enter():
                    return candidate
            waits = [candidate.ready_in() for candidate in usable if candidate.breaker.state == "closed"]
            if not waits or min(waits) > min(LONGEST_WAIT_SECONDS, self._left()):
                return None
            await asyncio.sleep(min(waits) * random.uniform(1.0, 1.0 + CROWD_JITTER))
        return None

    def _left(self) -> float:
        """Seconds left for attempts."""
        return self.deadline - time.time() - RESERVE_SECONDS

    def _patience(self, candidates: list[_Candidate], candidate: _Candidate) -> Patience:
        """An equal share of what is left of the deadline, within the alias's own limits."""
        others = sum(1 for other in candidates if other is not candidate and other.tries > 0)
        share = max(SHORTEST_ATTEMPT_SECONDS, self._left() / (candidate.tries + others))
        first = self.alias.first_byte_timeout if self.streams else self.alias.whole_timeout
        return Patience(
            connect=min(self.alias.connect_timeout, share),
            first_byte=min(first, share),
            idle=min(self.alias.idle_timeout, share),
        )

    async def _attempt(
        self, candidate: _Candidate, patience: Patience, try_one: Callable[[Upstream, Patience], Awaitable[T]]
    ) -> T:
        upstream, breaker = candidate.upstream, candidate.breaker
        started_at, started = time.time(), time.monotonic()
        outcome, error = "bug", None
        try:
            answer = await try_one(upstream, patience)
            outcome = "completed"
        except UpstreamError as raised:
            outcome, error = _judge(candidate, raised), raised
            raise
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        else:
            breaker.succeeded()
            return answer
        finally:
            if outcome in ("stopped", "bug"):
                breaker.left()
            self._record(upstream, breaker, outcome, error, started_at, time.monotonic() - started)

    def _record(
        self,
        upstream: Upstream,
        breaker: Breaker,
        outcome: str,
        error: UpstreamError | None,
        started_at: float,
        seconds: float,
    ) -> None:
        heard_at = self.first_byte_at()
        labelled(ATTEMPTS, upstream.name, outcome).inc()
        labelled(ATTEMPT_SECONDS, upstream.name).observe(seconds)
        labelled(BREAKER_OPEN, upstream.name).set(breaker.state != "closed")
        self.made.append(
            Attempt(
                upstream=upstream.name,
                model=upstream.model,
                outcome=outcome,
                status=None if error is None else error.status,
                # A provider that refuses our key quotes a part of it.
                error=None if error is None else redact_text(str(error))[:500],
                started_at=started_at,
                duration_ms=round(seconds * 1000, 3),
                first_byte_ms=None if heard_at is None else round((heard_at - started_at) * 1000, 3),
            )
        )
        if error is not None:
            log.warning("attempt failed", upstream=upstream.name, outcome=outcome, error=str(error))

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

    def _given_up(self, candidates: list[_Candidate], failure: UpstreamError | None) -> ReplyFailed:
        soonest = min((candidate.breaker.opens_in() for candidate in candidates), default=0.0)
        if failure is not None:
            return failed(failure, soonest)
        if not candidates:
            message = "No upstream of this model can call tools."
            return ReplyFailed(ReplyError(status=400, message=message, type="invalid_request_error", param="tools"))
        if self._left() < SHORTEST_ATTEMPT_SECONDS:
            message = "The answer was not complete before the deadline."
            return ReplyFailed(ReplyError(status=504, message=message, type="server_error", code="deadline_exceeded"))
        return _all_resting(candidates, max(1.0, soonest))


def _judge(candidate: _Candidate, error: UpstreamError) -> str:
    """Tell the breaker about a failed attempt; returns the name of its outcome."""
    if isinstance(error, UpstreamBusy):
        _rest(candidate, error)
        return "busy"
    if isinstance(error, UpstreamRefused):
        candidate.breaker.succeeded()
        return "refused"
    if error.code == "unconfigured":
        # Nobody was asked.
        candidate.breaker.left()
    else:
        candidate.breaker.failed()
    return "broken"


def _rest(candidate: _Candidate, busy: UpstreamBusy) -> None:
    """Leave a busy upstream alone: as long as it asked, or with jitter."""
    if busy.exhausted:
        # No rest helps; like a broken upstream it is skipped after a while and probed.
        candidate.breaker.failed()
        return
    told = busy.retry_after
    seconds = told if told is not None else BUSY_BACKOFF.delay(candidate.made + 1) or 0.0
    candidate.breaker.rest(min(seconds, LONGEST_REST_SECONDS))


def _all_resting(candidates: list[_Candidate], soonest: float) -> ReplyFailed:
    """Nobody was asked: they rest after a rate limit, or their breakers are open."""
    if any(candidate.breaker.state == "closed" for candidate in candidates):
        message = "Every upstream of this model is rate limited."
        error = ReplyError(status=429, message=message, type="rate_limit_error", code="rate_limit_exceeded")
    else:
        message = "Every upstream of this model is resting after failures."
        error = ReplyError(status=503, message=message, type="server_error", code="upstreams_unavailable")
    return ReplyFailed(error, retry_after=soonest)


def failed(failure: UpstreamError, soonest: float = 0.0) -> ReplyFailed:
    """What the client is told about a failure; an upstream comes back in `soonest` seconds at the earliest."""
    if isinstance(failure, UpstreamBusy):
        code = failure.code or "rate_limit_exceeded"
        busy = ReplyError(status=429, message=str(failure), type="rate_limit_error", code=code)
        return ReplyFailed(busy, retry_after=None if failure.exhausted else max(soonest, 0.001))
    if failure.code == "unconfigured":
        message = f"The provider of this model is not configured: {failure}."
        return ReplyFailed(
            ReplyError(status=503, message=message, type="server_error", code="provider_unconfigured"), retry_after=60.0
        )
    # What a provider says about our key or our model name is for the operator, who finds it in the fact.
    reason = "its provider refused this service's own settings" if failure.ours else str(failure)
    silent = isinstance(failure, UpstreamBroken) and failure.silent
    return ReplyFailed(
        ReplyError(
            status=504 if silent else 502,
            message=f"The model could not answer: {reason}.",
            type="server_error",
            code="upstream_timeout" if silent else "upstream_error",
        )
    )


def merge_request(body: dict[str, Any], upstream: Upstream, *, stream: bool, released: str) -> dict[str, Any]:
    """The upstream's request: the caller's body with our model, our stream options, and what to continue from.

    One that cannot call tools is only asked where the caller sent none: those of the active set are left out.
    """
    request = {**body, "model": upstream.model, "stream": stream}
    request["messages"] = [_plain(message) for message in body["messages"]]
    request.pop("stream_options", None)
    if "tools" not in upstream.capabilities:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            request.pop(name, None)
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

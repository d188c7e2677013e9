"""Who is asked next, and for how long: the policy of every answer, streamed or not."""

import asyncio
import random
import time
from dataclasses import dataclass

from common.events.backoff import Backoff
from common.providers.shared_breaker import CallerBreaker, SharedBreaker
from llm_stream.aliases import Upstream
from llm_stream.answer import failure
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.ports import Patience, UpstreamBusy, UpstreamError, UpstreamRefused

BACKOFF = Backoff(attempts=5, first=0.2, ceiling=2.0)
# Everybody who waited for a rate limit comes back at once; this share of the wait spreads them.
CROWD_JITTER = 0.1
# A caller would rather hear "try later" than wait longer than this for a rate limit.
MAX_WAIT_SECONDS = 10.0
# Kept back from the deadline, so that the error still reaches the caller in time.
RESERVE_SECONDS = 0.5
MIN_ATTEMPT_SECONDS = 0.1


class Breakers:
    """One breaker per upstream, by name and address, bounded by the models file."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, str, str], SharedBreaker] = {}

    def of(self, upstream: Upstream, org_id: str) -> CallerBreaker:
        """The breaker of this upstream as all turns of an organisation meet it."""
        key = (upstream.name, upstream.base_url, upstream.model)
        shared = self._breakers.get(key)
        if shared is None:
            shared = self._breakers[key] = SharedBreaker()
        return shared.seen_by(org_id)


@dataclass(slots=True)
class _Candidate:
    """An upstream as one turn sees it: how often it may still be asked, and not before when (monotonic seconds)."""

    upstream: Upstream
    breaker: CallerBreaker
    tries: int
    made: int = 0
    not_before: float = 0.0

    def ready_in(self) -> float:
        return max(0.0, self.not_before - time.monotonic(), self.breaker.rests_for())

    def failed(self, error: UpstreamError) -> None:
        """Decide when this upstream may be asked again in this turn."""
        self.made += 1
        exhausted = isinstance(error, UpstreamBusy) and error.exhausted
        self.tries = 0 if exhausted or error.ours else self.tries - 1
        self.not_before = time.monotonic() + (BACKOFF.delay(self.made) or 0.0)


class Failover:
    """Hands out the attempts for one prepared request, one after the other, until nobody is worth asking.

    The first upstream that may be asked is asked. After a failure that is another one at once, or, where there is
    none, the same one after its backoff or the rest it wants.
    """

    def __init__(self, prepared: PreparedRequest, answer: AnswerInProgress, breakers: Breakers) -> None:
        alias = prepared.alias
        self._prepared = prepared
        self._answer = answer
        self._candidates = [
            _Candidate(upstream, breakers.of(upstream, prepared.request.org_id), alias.tries)
            for upstream in alias.upstreams
            if not prepared.needs_tools or "tools" in upstream.capabilities
        ]
        self._under_way: tuple[_Candidate, Attempt, bool] | None = None  # the last: whether it continues an answer
        self._failure: UpstreamError | None = None
        self._refusal: UpstreamRefused | None = None

    async def next(self) -> Attempt | None:
        """The next attempt, to be made now; None when there is none, and then `larger` and `error` say what it is.

        To be called again once that attempt has failed.
        """
        self._note_failure()
        if self._refusal is not None or not self._may_go_on():
            return None
        candidate = await self._ready()
        if candidate is None:
            return None
        upstream, breaker = candidate.upstream, candidate.breaker
        attempt = Attempt(self._prepared, upstream, breaker, self._patience(candidate), candidate.made + 1)
        self._under_way = candidate, attempt, bool(self._answer.frames.released_text)
        self._answer.attempts.add(attempt)
        return attempt

    @property
    def larger(self) -> str | None:
        """The alias that takes over, where the conversation is too long for this one and it names another."""
        too_long = self._refusal is not None and self._refusal.too_long
        return self._prepared.alias.larger if too_long else None

    def error(self) -> AnswerFailed:
        """What the client is told when there is no further attempt."""
        if self._refusal is not None:
            return failure.refused(self._refusal)
        soonest = min((candidate.breaker.opens_in() for candidate in self._candidates), default=0.0)
        if self._failure is not None:
            return failure.failed(self._failure, soonest)
        if not self._candidates:
            return failure.bad_request(400, "No upstream of this model can call tools.", param="tools")
        if self._seconds_left() < MIN_ATTEMPT_SECONDS:
            return failure.too_late()
        rate_limited = any(candidate.breaker.state == "closed" for candidate in self._candidates)
        return failure.resting(rate_limited=rate_limited, soonest=max(1.0, soonest))

    def _note_failure(self) -> None:
        """Learn from the attempt that was made last."""
        if self._under_way is None:
            return
        candidate, attempt, continued = self._under_way
        self._under_way = None
        begun = self._answer.frames.delivered_tokens > 0
        if isinstance(attempt.error, UpstreamRefused) and (continued or (begun and not attempt.error.filtered)):
            # Our own request to continue was refused, or an answer that had begun broke: the client's request is good.
            candidate.tries = 0
            self._failure = self._failure or attempt.error
        elif isinstance(attempt.error, UpstreamRefused):
            self._refusal = attempt.error
        elif attempt.error is not None:
            candidate.failed(attempt.error)
            # What another upstream met says more than that one is not set up.
            if self._failure is None or not attempt.error.ours:
                self._failure = attempt.error

    def _may_go_on(self) -> bool:
        """After a failure somebody may go on where no text was released, or where it was cut at a sentence."""
        frames, prepared = self._answer.frames, self._prepared
        if self._failure is None or frames.delivered_tokens == 0:
            return True
        return prepared.alias.holds_sentences and frames.continuable and prepared.body.get("n", 1) == 1

    async def _ready(self) -> _Candidate | None:
        """Whom to ask now, having waited where everybody rests; None when nobody is worth waiting for.

        An open breaker is not waited for: that would turn an outage into a queue.
        """
        while self._seconds_left() >= MIN_ATTEMPT_SECONDS:
            usable = [candidate for candidate in self._candidates if candidate.tries > 0]
            for candidate in usable:
                if candidate.ready_in() <= 0 and candidate.breaker.try_enter():
                    return candidate
            waits = [candidate.ready_in() for candidate in usable if candidate.breaker.state == "closed"]
            if not waits or min(waits) > min(MAX_WAIT_SECONDS, self._seconds_left()):
                return None
            await asyncio.sleep(min(waits) * random.uniform(1.0, 1.0 + CROWD_JITTER))
        return None

    def _seconds_left(self) -> float:
        """Seconds left for attempts."""
        return self._answer.deadline - time.time() - RESERVE_SECONDS

    def _patience(self, candidate: _Candidate) -> Patience:
        """An equal share of what is left of the deadline, within the alias's own limits."""
        alias = self._prepared.alias
        others = sum(1 for other in self._candidates if other is not candidate and other.tries > 0)
        share = max(MIN_ATTEMPT_SECONDS, self._seconds_left() / (candidate.tries + others))
        first = alias.first_byte_timeout if self._prepared.request.stream else alias.whole_timeout
        return Patience(
            connect=min(alias.connect_timeout, share),
            first_byte=min(first, share),
            idle=min(alias.idle_timeout, share),
        )

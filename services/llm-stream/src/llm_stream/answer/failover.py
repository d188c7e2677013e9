"""Who is asked next, and for how long: the policy of every answer, streamed or not."""

import asyncio
import math
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
from llm_stream.metrics import BREAKER_OPEN
from llm_stream.ports import Patience, UpstreamBusy, UpstreamError, UpstreamRefused

BACKOFF = Backoff(attempts=5, first=0.2, ceiling=2.0)
# Everybody who waited for a rate limit comes back at once; this share of the wait spreads them.
CROWD_JITTER = 0.1
# A caller would rather hear "try later" than wait longer than this for a rate limit.
MAX_WAIT_SECONDS = 10.0
# How long an upstream is listened to while another one stands by, where the alias does not say: before the first token,
# between two of them, and for an answer that comes whole.
FIRST_BYTE_SECONDS = 10.0
IDLE_SECONDS = 10.0
WHOLE_SECONDS = 60.0
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
            # Asked at each scrape: a breaker goes by the clock, also while nobody calls.
            BREAKER_OPEN.labels(upstream.name).set_function(lambda: self._any_open(upstream.name))
        return shared.seen_by(org_id)

    def _any_open(self, name: str) -> bool:
        """Whether an upstream of this name is left alone; after a change of the models file there may be several."""
        return any(each.keeps_all_away for (own, _, _), each in self._breakers.items() if own == name)


@dataclass(slots=True)
class _Candidate:
    """An upstream as one turn sees it: how often it may still be asked, and not before when (monotonic seconds)."""

    upstream: Upstream
    breaker: CallerBreaker
    tries: int
    made: int = 0
    not_before: float = 0.0

    def ready_in(self) -> float:
        """Seconds until it may be asked, as far as can be known."""
        return max(0.0, self.not_before - time.monotonic(), self.breaker.rests_for())

    def failed(self, error: UpstreamError) -> None:
        """Decide when this upstream may be asked again in this turn."""
        self.made += 1
        exhausted = isinstance(error, UpstreamBusy) and error.exhausted
        self.tries = 0 if exhausted or error.ours else self.tries - 1
        self.not_before = time.monotonic() + (BACKOFF.delay(self.made) or 0.0)

    def retire(self) -> None:
        """Not to be asked again in this turn."""
        self.tries = 0


class Failover:
    """Hands out the attempts for one prepared request, one after the other, until nobody is worth asking.

    The first upstream that may be asked is asked. After a failure that is another one at once, or, where there is
    none, the same one after its backoff or the rest it wants; the alias may want either to be waited for.
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
        if self._candidates:
            self._candidates[0].tries = max(alias.tries, alias.retry_first)
        self._final: UpstreamRefused | None = None  # it stands whoever else could be asked
        # What explains most if nobody answers: a failure, then a refusal, and only then that one is not set up.
        self._failure: UpstreamError | None = None
        self._refusal: UpstreamRefused | None = None
        self._misconfigured: UpstreamError | None = None

    async def next(self) -> Attempt | None:
        """The next attempt, to be made now; None when there is none, and then `larger` and `error` say what it is.

        To be called again once that attempt has failed.
        """
        self._note_failure()
        if self._final is not None or not self._may_go_on():
            return None
        candidate = await self._ready()
        if candidate is None:
            return None
        upstream, breaker = candidate.upstream, candidate.breaker
        attempt = Attempt(self._prepared, upstream, breaker, self._patience(candidate), candidate.made + 1)
        self._under_way = candidate, attempt, bool(self._answer.frames.released_text.strip())
        self._answer.attempts.add(attempt)
        return attempt

    @property
    def larger(self) -> str | None:
        """The alias that takes over, where the conversation is too long for this one and it names another."""
        too_long = self._final is not None and self._final.too_long
        return self._prepared.alias.larger if too_long else None

    def error(self) -> AnswerFailed:
        """What the client is told when there is no further attempt."""
        if self._final is not None:
            return failure.refused(self._final)
        soonest = min((candidate.breaker.opens_in() for candidate in self._candidates), default=0.0)
        if self._failure is not None:
            return failure.failed(self._failure, soonest)
        if self._refusal is not None:
            return failure.refused(self._refusal)
        if self._misconfigured is not None:
            return failure.failed(self._misconfigured, soonest)
        if not self._candidates:
            return failure.bad_request(400, "No upstream of this model can call tools.", param="tools")
        if self._seconds_left() < MIN_ATTEMPT_SECONDS:
            return failure.too_late()
        rate_limited = any(each.breaker.state == "closed" and each.breaker.rate_limited for each in self._candidates)
        return failure.resting(rate_limited=rate_limited, soonest=max(1.0, soonest))

    def _note_failure(self) -> None:
        """Learn from the attempt that was made last."""
        if self._under_way is None:
            return
        candidate, attempt, continued = self._under_way
        self._under_way = None
        error = attempt.error
        if error is None:
            return
        begun = self._answer.frames.released_tokens > 0
        if isinstance(error, UpstreamRefused):
            if continued or (begun and not error.filtered):
                # Our own request to continue was refused, or an answer that had begun broke: the client's is good.
                candidate.retire()
                self._failure = self._failure or error
            else:
                self._note_refusal(candidate, error)
            return
        candidate.failed(error)
        if continued:
            # What broke the answer says more than what became of our request to continue it.
            self._failure = self._failure or error
        elif error.ours:
            self._misconfigured = self._misconfigured or error
        else:
            self._failure = error

    def _note_refusal(self, candidate: _Candidate, refusal: UpstreamRefused) -> None:
        """The client's request was refused: for good, unless somebody else failed at it or it may fit another one."""
        alias = self._prepared.alias
        # The upstreams of vectors are one model, and no larger one.
        fits_another = refusal.too_long and alias.larger is None and alias.serves == "chat"
        disputed = self._failure is not None or self._refusal is not None
        moves_on = refusal.too_long and alias.larger is not None
        if refusal.filtered or moves_on or not (fits_another or disputed):
            self._final = refusal
        else:
            candidate.retire()
            self._refusal = self._refusal or refusal

    def _may_go_on(self) -> bool:
        """After a failure somebody may go on where no text was released, or where it was cut at a sentence."""
        frames = self._answer.frames
        return frames.released_tokens == 0 or (self._continues and frames.continuable)

    @property
    def _continues(self) -> bool:
        """Whether an answer of this kind is continued once a part of it was released."""
        return self._prepared.alias.holds_sentences and self._prepared.body.get("n", 1) == 1

    async def _ready(self) -> _Candidate | None:
        """Whom to ask now, having waited where everybody rests; None when nobody is worth waiting for.

        An open breaker is not waited for: that would turn an outage into a queue.
        """
        while (left := self._seconds_left()) >= MIN_ATTEMPT_SECONDS:
            usable = [candidate for candidate in self._candidates if candidate.tries > 0]
            wait: float | None = None
            for candidate in usable:
                if candidate.ready_in() <= 0 and candidate.breaker.try_enter():
                    return candidate
                if self._preferred(candidate, left):
                    wait = candidate.ready_in()
                    break
            if wait is None:
                wait = min((each.ready_in() for each in usable if each.breaker.state == "closed"), default=math.inf)
                if wait > min(max(MAX_WAIT_SECONDS, self._prepared.alias.wait_for_rate_limit), left):
                    return None
            await asyncio.sleep(wait * random.uniform(1.0, 1.0 + CROWD_JITTER))
        return None

    def _preferred(self, candidate: _Candidate, left: float) -> bool:
        """Whether the alias wants this one, which may not be asked yet, rather than the next one."""
        alias = self._prepared.alias
        if candidate.breaker.state != "closed" or candidate.ready_in() > left:
            return False
        if (rest := candidate.breaker.rests_for()) > 0:
            return rest <= alias.wait_for_rate_limit
        return candidate is self._candidates[0] and 0 < candidate.made < alias.retry_first

    def _seconds_left(self) -> float:
        """Seconds left for attempts."""
        return self._answer.deadline - time.time() - RESERVE_SECONDS

    def _patience(self, candidate: _Candidate) -> Patience:
        """An equal share of what is left of the deadline, within the alias's own limits.

        Where nobody else could answer, waiting beats giving up: what the alias does not limit, the deadline does.
        """
        alias, stream = self._prepared.alias, self._prepared.request.stream
        left = max(MIN_ATTEMPT_SECONDS, self._seconds_left())
        given, usual = (alias.first_byte_timeout, FIRST_BYTE_SECONDS)
        if not stream:
            given, usual = (alias.whole_timeout, WHOLE_SECONDS)
        others = self._standing_by(candidate, given or usual)
        share = max(MIN_ATTEMPT_SECONDS, left / (candidate.tries + others))
        # Of a stream that is heard a part is sent, and then not everybody can go on.
        relieved = others > 0 and (self._continues or not stream)
        idle = min(alias.idle_timeout or IDLE_SECONDS, share)
        return Patience(
            connect=min(alias.connect_timeout, share),
            first_byte=left if given is None and not others else min(given or usual, share),
            idle=left if alias.idle_timeout is None and not relieved else idle,
            minimum_rate=alias.minimum_rate if relieved else 0.0,
        )

    def _standing_by(self, candidate: _Candidate, seconds: float) -> int:
        """How many others could be asked in so many seconds."""
        if len(self._candidates) == 1:
            return 0
        others = (each for each in self._candidates if each is not candidate and each.tries > 0)
        return sum(1 for each in others if each.breaker.opens_in() <= seconds)

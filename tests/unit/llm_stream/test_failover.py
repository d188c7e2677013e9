"""How long an upstream is waited for, and what becomes of a stream that comes too slowly."""

import asyncio
import time
from typing import Any, cast

import pytest

from common.bus.live.writer import LiveWriter
from common.providers.shared_breaker import SharedBreaker
from llm_stream.aliases import Alias, Upstream
from llm_stream.answer.attempt import Attempt, Attempts
from llm_stream.answer.delivery import Delivery
from llm_stream.answer.failover import Breakers, Failover
from llm_stream.answer.frames import Frames
from llm_stream.answer.in_progress import AnswerInProgress, FactNotes
from llm_stream.answer.minimum_rate import MinimumRate
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.rounds import Rounds
from llm_stream.answer.whole_answers import WholeAnswers
from llm_stream.ports import Patience, UpstreamAnswer, UpstreamBroken, UpstreamBusy, UpstreamError
from tests.support.relay import UPSTREAM, Mailbox, request_of

SECONDS = 120.0


def failover(count: int = 1, *, stream: bool = True, body: dict[str, Any] | None = None, **options: Any) -> Failover:
    """The failover of one turn of `SECONDS` over `count` upstreams."""
    upstreams = [Upstream(name=name, base_url="http://h", model="m") for name in "abcde"[:count]]
    alias = Alias.model_validate({"upstreams": upstreams, **options})
    request = request_of({"messages": [], **(body or {})}, stream=stream, received_at=time.time())
    frames = Frames(request, time.time() + SECONDS, Delivery(cast("LiveWriter", Mailbox()), "m"), lambda: None)

    async def ours() -> bool:
        return True

    answer = AnswerInProgress(
        request, time.time() + SECONDS, frames, Attempts(), ours, WholeAnswers(), FactNotes(), Rounds()
    )
    return Failover(PreparedRequest(request, alias, request.body), answer, Breakers())


async def attempts(turn: Failover, *errors: UpstreamError) -> Attempt:
    """The attempt that is made after those that failed so."""
    for error in errors:
        failed = await turn.next()
        assert failed is not None
        with failed:
            raise error
    attempt = await turn.next()
    assert attempt is not None
    return attempt


def is_all(seconds: float) -> bool:
    return SECONDS - 10 < seconds <= SECONDS


@pytest.mark.parametrize("stream", [True, False])
async def test_alone_an_upstream_has_all_the_time_there_is(stream: bool) -> None:
    patience = (await attempts(failover(stream=stream))).patience
    assert is_all(patience.first_byte)
    assert is_all(patience.idle)
    assert patience.connect == 3.0


async def test_beside_another_one_it_has_its_usual_time() -> None:
    patience = (await attempts(failover(2))).patience
    assert (patience.first_byte, patience.idle) == (10.0, 10.0)
    whole = (await attempts(failover(2, stream=False))).patience
    assert SECONDS / 3 - 2 < whole.first_byte <= SECONDS / 3
    assert whole.idle == 10.0


@pytest.mark.parametrize("count", [1, 2])
async def test_what_the_alias_names_is_kept(count: int) -> None:
    limits: dict[str, Any] = {"first_byte_timeout": 2.0, "idle_timeout": 3.0, "whole_timeout": 4.0}
    patience = (await attempts(failover(count, **limits))).patience
    assert (patience.first_byte, patience.idle) == (2.0, 3.0)
    assert (await attempts(failover(count, stream=False, **limits))).patience.first_byte == 4.0


async def test_the_last_one_left_is_alone() -> None:
    ours = UpstreamBroken("x", code="unconfigured")
    assert is_all((await attempts(failover(2), ours)).patience.first_byte)
    spent = UpstreamBusy("x", retry_after=None, exhausted=True)
    assert is_all((await attempts(failover(2), spent)).patience.first_byte)
    rests = UpstreamBusy("x", retry_after=60.0, exhausted=False)
    assert is_all((await attempts(failover(2), rests)).patience.first_byte)
    soon = UpstreamBusy("x", retry_after=5.0, exhausted=False)
    assert (await attempts(failover(2), soon)).patience.first_byte == 10.0


@pytest.mark.parametrize("options", [{"release": "tokens"}, {"body": {"n": 2}}])
async def test_where_nobody_could_go_on_a_pause_is_waited_for(options: dict[str, Any]) -> None:
    patience = (await attempts(failover(2, minimum_rate=1.0, **options))).patience
    assert patience.first_byte == 10.0
    assert is_all(patience.idle)
    assert patience.minimum_rate == 0


async def test_a_rate_is_demanded_only_while_another_one_stands_by() -> None:
    assert (await attempts(failover(2, minimum_rate=1.5))).patience.minimum_rate == 1.5
    assert (await attempts(failover(1, minimum_rate=1.5))).patience.minimum_rate == 0
    assert (await attempts(failover(2))).patience.minimum_rate == 0


# -- too slow ---------------------------------------------------------------------------------------------------------


class Line:
    """An answer that ends when it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def close(self) -> None:
        self.closed.set()


def watched(rate: float, line: Line) -> tuple[Attempt, MinimumRate]:
    patience = Patience(connect=1.0, first_byte=1.0, idle=1.0, minimum_rate=rate)
    alias = Alias(upstreams=(UPSTREAM,))
    attempt = Attempt(PreparedRequest(request_of({}), alias, {}), UPSTREAM, SharedBreaker().seen_by("us"), patience, 1)
    return attempt, MinimumRate(attempt, cast("UpstreamAnswer", line), window=0.05)


async def test_an_answer_that_comes_too_slowly_is_closed() -> None:
    attempt, slow = watched(100.0, line := Line())
    slow.__enter__()
    attempt.tokens += 1
    await asyncio.wait_for(line.closed.wait(), 5)
    cut = UpstreamBroken("the stream was cut")
    with pytest.raises(UpstreamBroken, match="less than 100 tokens a second"):
        slow.__exit__(UpstreamBroken, cut, None)


async def test_nothing_is_demanded_before_the_first_token_or_of_one_that_is_fast_enough() -> None:
    attempt, slow = watched(100.0, line := Line())
    with slow:
        await asyncio.sleep(0.2)
        for _ in range(50):
            attempt.tokens += 20
            await asyncio.sleep(0.004)
    assert not line.closed.is_set()
    with pytest.raises(UpstreamBroken, match="cut"), watched(1.0, line)[1]:
        raise UpstreamBroken("the stream was cut")

"""Stopping an answer closes the connection to the upstream itself, and the fact says what was heard until then."""

import asyncio
import time
import uuid
from typing import Any

import orjson
import pytest

from common.bus.live.frames import FrameKind
from common.events.chat import ANSWER_STOP, SESSION_INTERRUPT, AnswerStop, SessionInterrupt
from tests.support.llm_stream import AliasUnderTest, Exchange, Heard, World
from tests.support.waiting import eventually

SLOW = "delay-20+chunks-400"


async def reached(world: World, alias: AliasUnderTest, position: int = 0) -> None:
    """Wait until an upstream has been asked."""

    async def asked() -> bool:
        return bool(await world.calls(alias.models[position]))

    await eventually(asked)


async def stopped(world: World, turn: Exchange, **fields: Any) -> tuple[Heard, Any]:
    """Stop a turn; returns what was heard and the fact."""
    at = await world.stop(turn, **fields)
    heard = await turn.ended()
    fact = await world.fact(turn.id)
    assert heard.end["outcome"] == "interrupted"
    assert "error" not in heard.end
    assert not heard.done
    assert heard.error is None
    receipt = fact.receipt
    assert receipt.signal_at == pytest.approx(at)
    assert receipt.upstream_closed_at >= receipt.signal_at
    assert receipt.generated_tokens >= receipt.delivered_tokens
    return heard, fact


@pytest.mark.parametrize(
    "faults", ["headers-9000", "silence", "silence-after-headers", "first-9000", "stall-after-0", "stall-after-2"]
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_stop_before_the_first_word_closes_the_upstream(llm_world: World, faults: str, stream: bool) -> None:
    alias = await llm_world.alias(
        faults, "", release="sentences", first_byte_timeout=30.0, idle_timeout=30.0, whole_timeout=30.0
    )
    async with llm_world.turn(alias, stream=stream, seconds=60.0) as turn:
        await reached(llm_world, alias)
        heard, fact = await stopped(llm_world, turn)
    assert [frame.kind for frame in heard.frames] == [FrameKind.END]
    call = await llm_world.call_ended(alias.models[0], "client_closed")
    assert call["closed_at"] >= fact.receipt.signal_at
    assert fact.receipt.delivered_tokens == 0
    assert fact.first_token_at is None
    assert [attempt.outcome for attempt in fact.attempts] == ["stopped"]
    assert await llm_world.calls(alias.models[1]) == []


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_a_stop_mid_stream_closes_the_upstream(llm_world: World, release: str) -> None:
    alias = await llm_world.alias(SLOW, release=release)
    async with llm_world.turn(alias) as turn:
        await turn.hears(5)
        heard, fact = await stopped(llm_world, turn)
    await llm_world.call_ended(alias.models[0], "client_closed")
    receipt = fact.receipt
    assert receipt.generated_tokens >= receipt.delivered_tokens > 0
    assert receipt.last_byte_at is not None
    assert receipt.last_byte_at <= receipt.upstream_closed_at
    if release == "tokens":
        assert receipt.delivered_tokens == len(heard.chunks)
    # Some chunks are longer than a token.
    assert fact.usage.completion_tokens >= receipt.generated_tokens
    assert fact.usage.estimated
    assert (fact.upstream, fact.upstream_model) == (alias.upstreams[0], alias.models[0])
    assert heard.end["usage"]["completion_tokens"] == receipt.generated_tokens


async def test_a_stop_during_a_stall_closes_the_upstream(llm_world: World) -> None:
    alias = await llm_world.alias("stall-after-3", release="tokens", idle_timeout=30.0)
    async with llm_world.turn(alias, seconds=60.0) as turn:
        await turn.hears(4)
        _, fact = await stopped(llm_world, turn)
    await llm_world.call_ended(alias.models[0], "client_closed")
    assert fact.receipt.generated_tokens == fact.receipt.delivered_tokens == 3


async def test_the_receipt_counts_what_left_the_gateway(llm_world: World) -> None:
    alias = await llm_world.alias(SLOW, release="tokens")
    async with llm_world.turn(alias) as turn:
        await turn.hears(8)
        heard_at = time.time()
        _, fact = await stopped(llm_world, turn, delivered=5, last_byte_at=heard_at)
    # Frame 1 is START; each of the others carried one delta.
    assert fact.receipt.delivered_tokens == 4
    assert fact.receipt.last_byte_at == pytest.approx(heard_at)
    assert fact.receipt.generated_tokens >= 7


async def test_a_stop_between_two_attempts_bills_nothing(llm_world: World) -> None:
    alias = await llm_world.alias("status-429-ra-9")
    async with llm_world.turn(alias) as turn:
        await llm_world.call_ended(alias.models[0], "fault")
        _, fact = await stopped(llm_world, turn)
    assert [attempt.outcome for attempt in fact.attempts] == ["busy"]
    assert fact.usage.total_tokens == 0
    assert fact.upstream is None


async def test_a_stop_of_a_fallback_bills_the_fallback_alone(llm_world: World) -> None:
    alias = await llm_world.alias("chunks-40+cut-after-39", SLOW)
    async with llm_world.turn(alias, "count to 30") as turn:
        await reached(llm_world, alias, 1)
        _, fact = await stopped(llm_world, turn)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "stopped"]
    assert fact.upstream == alias.upstreams[1]
    assert fact.receipt.generated_tokens >= 39
    assert fact.usage.completion_tokens == fact.receipt.generated_tokens - 39
    await llm_world.call_ended(alias.models[1], "client_closed")


async def test_a_stop_that_overtakes_its_request_is_not_lost(llm_world: World) -> None:
    alias = await llm_world.alias("")
    session_id = uuid.uuid4().hex
    soon = time.time() + 5.0
    interrupt = SessionInterrupt(org_id="org-1", session_id=session_id, reason="user_interruption", at=soon)
    await llm_world.live.signal(SESSION_INTERRUPT, interrupt)
    marker = AnswerStop(request_id=uuid.uuid4().hex, reason="client_closed", at=time.time(), mailbox="")
    await llm_world.live.signal(ANSWER_STOP, marker)
    async with llm_world.turn(alias, session_id=session_id) as turn:
        heard = await turn.ended()
        fact = await llm_world.fact(turn.id)
    assert heard.end["outcome"] == "interrupted"
    assert fact.receipt.reason == "user_interruption"
    assert await llm_world.calls(alias.models[0]) == []


async def test_a_drop_that_overtakes_its_request_leaves_it_its_grace(llm_world: World) -> None:
    alias = await llm_world.alias("headers-600", first_byte_timeout=5.0)
    request_id, mailbox = f"chatcmpl-{uuid.uuid4().hex}", llm_world.reader.mailbox
    stop = AnswerStop(request_id=request_id, reason="client_closed", at=time.time(), grace=30.0, mailbox=mailbox)
    await llm_world.live.signal(ANSWER_STOP, stop)
    async with llm_world.turn(alias, request_id=request_id, resume_grace=30.0) as turn:
        await reached(llm_world, alias)
        await llm_world.attach(turn)
        heard = await turn.ended()
    assert heard.done


async def test_the_grace_of_a_request_holds_for_a_later_drop_that_names_none(llm_world: World) -> None:
    alias = await llm_world.alias(SLOW, release="tokens")
    async with llm_world.turn(alias, resume_grace=30.0) as turn:
        await turn.hears(3)
        await llm_world.stop(turn, grace=0.0)
        await llm_world.stop(turn)
        assert [call["end"] for call in await llm_world.calls(alias.models[0])] == [None]
        await llm_world.attach(turn)
        before = len(turn.heard.frames)
        await turn.hears(before + 3)
        # What is no drop ends it at once.
        await stopped(llm_world, turn, reason="user_interruption")


async def test_interrupting_a_session_answers_with_the_receipts(llm_world: World) -> None:
    alias = await llm_world.alias(SLOW, release="tokens")
    session_id, ask_id = uuid.uuid4().hex, f"ask-{uuid.uuid4().hex}"
    with llm_world.reader.waiting(ask_id) as replies:
        async with llm_world.turn(alias, session_id=session_id) as turn, llm_world.turn(alias) as other:
            await turn.hears(3)
            await other.hears(3)
            interrupt = SessionInterrupt(
                org_id="org-1",
                session_id=session_id,
                reason="user_interruption",
                at=time.time(),
                ask_id=ask_id,
                reply_to=llm_world.reader.mailbox,
            )
            await llm_world.live.signal(SESSION_INTERRUPT, interrupt)
            heard = await turn.ended()
            [reply] = await replies.frames(10.0)
            fact = await llm_world.fact(turn.id)
            assert heard.end["outcome"] == "interrupted"
            # Another session's turn goes on.
            before = len(other.heard.frames)
            await other.hears(before + 3)
            await stopped(llm_world, other)
    [receipt] = orjson.loads(reply.payload)["body"]["receipts"]
    assert receipt["id"] == turn.id
    assert receipt["generated_tokens"] == fact.receipt.generated_tokens


async def test_a_turn_is_stopped_once(llm_world: World) -> None:
    alias = await llm_world.alias(SLOW, release="tokens")
    async with llm_world.turn(alias) as turn:
        await turn.hears(3)
        first = await llm_world.stop(turn)
        await asyncio.gather(*(llm_world.stop(turn, "user_interruption") for _ in range(5)))
        await turn.ended()
        fact = await llm_world.fact(turn.id)
    assert fact.receipt.signal_at == pytest.approx(first)
    assert fact.receipt.reason == "client_closed"

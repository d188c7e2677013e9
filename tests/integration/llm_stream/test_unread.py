"""Answers that nobody reads: their upstreams wait, they are not blamed for it, and who reads on misses nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from common.bus.live.frames import Frame, FrameKind
from common.events.chat import ANSWER_READ, AnswerRead
from tests.support.llm_stream import Exchange, World, chunk, scripted, sse

CHUNKS = 3000
PIECE = "x" * 1000
# The window, and what a packet or two may bring beyond it.
MOST = 1024 * 1024


@asynccontextmanager
async def asked(world: World, *first: str) -> AsyncIterator[Exchange]:
    """A turn whose upstream says three megabytes as fast as it can, behind what it says first."""
    answer = sse(*map(chunk, first), *[chunk(PIECE)] * CHUNKS, chunk(finish="stop"), b"[DONE]")
    async with scripted([answer]) as upstream:
        alias = await world.alias({"base_url": upstream.url, "faults": ""})
        async with world.turn(alias, seconds=60) as turn:
            yield turn


async def until_held(turn: Exchange) -> list[Frame]:
    """What comes without a receipt: two marks without anything between them say that it waits."""
    frames: list[Frame] = []
    while [frame.kind for frame in frames[-2:]] != [FrameKind.MARK] * 2:
        frames += await more(turn)
        assert frames[-1].kind != FrameKind.END, frames[-1].payload
    return frames


async def more(turn: Exchange) -> list[Frame]:
    """The next frames, within 10 seconds."""
    frames = await turn._waiter.first(10)
    assert frames, "nothing comes"
    assert not turn._waiter.gap, "frames were lost"
    return frames


async def read_on(world: World, turn: Exchange, frames: list[Frame]) -> None:
    """Answer every mark, to the end."""
    while frames[-1].kind != FrameKind.END:
        if any(frame.kind == FrameKind.MARK for frame in frames[-50:]):
            number = max(frame.number for frame in frames)
            read = AnswerRead(request_id=turn.id, mailbox=world.reader.mailbox, number=number)
            await world.live.signal(ANSWER_READ, read)
        frames += await more(turn)


def said(frames: list[Frame]) -> int:
    """How many pieces the frames say, each in order."""
    numbered = [frame for frame in frames if frame.number]
    assert [frame.number for frame in numbered] == list(range(1, len(numbered) + 1))
    texts = [frame.payload.partition(b"data: ")[2] for frame in numbered if frame.kind == FrameKind.DATA]
    chunks = [orjson.loads(text) for text in texts if not text.startswith(b"[DONE]")]
    return sum(choice["delta"].get("content") == PIECE for each in chunks for choice in each["choices"])


async def test_an_upstream_waits_for_a_client_that_reads_nothing(llm_world: World) -> None:
    async with asked(llm_world) as turn:
        frames = await until_held(turn)
        assert sum(len(frame.payload) for frame in frames) < MOST
        await read_on(llm_world, turn, frames)
    assert said(frames) == CHUNKS
    fact = await llm_world.fact(turn.id)
    # That took longer than its silence would have been borne.
    assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


async def test_an_upstream_that_waits_from_its_first_word_on_is_not_blamed(llm_world: World) -> None:
    async with asked(llm_world, "x" * 400_000) as turn:
        await read_on(llm_world, turn, await until_held(turn))
    fact = await llm_world.fact(turn.id)
    assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


async def test_an_answer_that_waits_is_stopped_as_any_other(llm_world: World) -> None:
    async with asked(llm_world) as turn:
        await until_held(turn)
        await llm_world.stop(turn)
        assert (await llm_world.fact(turn.id)).receipt.reason == "client_closed"


async def test_a_long_answer_is_taken_up_again_piece_by_piece(llm_world: World) -> None:
    async with asked(llm_world) as turn:
        first = await until_held(turn)
        turn._waiter.last_number = 0
        await llm_world.attach(turn)
        again = await until_held(turn)
        assert sum(len(frame.payload) for frame in again) < MOST
        await read_on(llm_world, turn, again)
    assert said(again) == CHUNKS
    assert first[0].kind == FrameKind.START

"""An upstream that is held hands over nothing more, not even what one read had brought before."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from llm_stream.adapters.openai_http import OpenAIHttp, open_chat_model
from llm_stream.aliases import Upstream
from llm_stream.ports import Patience, Said, Take, UpstreamAnswer, UpstreamBroken
from tests.support.scripted import messages, scripted, sse
from tests.support.waiting import eventually

PAYLOADS = [b"%d" % number for number in range(300)]
PATIENCE = Patience(connect=5, first_byte=5, idle=5)
LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture
async def model() -> AsyncIterator[OpenAIHttp]:
    async with open_chat_model(1_000_000, 1_000_000) as opened:
        yield opened


def upstream(url: str) -> Upstream:
    return Upstream(name="scripted", base_url=url, model="scripted")


class Holding:
    """Takes payloads, and pauses at every tenth."""

    def __init__(self, answer: UpstreamAnswer) -> None:
        self.taken: list[bytes] = []
        self._answer = answer

    def has_taken(self, count: int) -> bool:
        return len(self.taken) == count

    def __call__(self, payload: bytes) -> Said:
        self.taken.append(payload)
        if len(self.taken) % 10 == 0:
            self._answer.pause()
        return Said.SOMETHING


def kept_open(*payloads: bytes) -> list[bytes | float]:
    """All in one read, and the end much later."""
    body = messages(*payloads)
    return [LENGTH % (len(body) + 1) + body, 5.0, b"\n"]


def running(answer: UpstreamAnswer, take: Take) -> asyncio.Task[None]:
    return asyncio.create_task(_relay(answer, take))


async def _relay(answer: UpstreamAnswer, take: Take) -> None:
    await answer.relay(take)


@pytest.mark.parametrize("whole", [True, False])
async def test_what_waits_follows_in_order(model: OpenAIHttp, whole: bool) -> None:
    script: list[bytes | float] = [sse(*PAYLOADS)] if whole else kept_open(*PAYLOADS)
    async with scripted(script) as server, model.ask(upstream(server.url), {}, PATIENCE) as answer:
        holding = Holding(answer)
        relay = running(answer, holding)
        for held in range(10, len(PAYLOADS) + 1, 10):
            await eventually(partial(holding.has_taken, held))
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(holding.taken) == held
            answer.resume()
        await eventually(lambda: len(holding.taken) == len(PAYLOADS))
        assert holding.taken == PAYLOADS
        if whole:
            await relay
        else:
            answer.close()
            with pytest.raises(UpstreamBroken):
                await relay


@pytest.mark.parametrize("whole", [True, False])
async def test_what_goes_wrong_behind_a_pause_is_raised(model: OpenAIHttp, whole: bool) -> None:
    script: list[bytes | float] = [sse(*PAYLOADS)] if whole else kept_open(*PAYLOADS)
    async with scripted(script) as server, model.ask(upstream(server.url), {}, PATIENCE) as answer:
        taken: list[bytes] = []

        def take(payload: bytes) -> Said:
            taken.append(payload)
            if len(taken) == 10:
                answer.pause()
            if len(taken) == 20:
                raise UpstreamBroken("the twentieth")
            return Said.SOMETHING

        relay = running(answer, take)
        await eventually(lambda: len(taken) == 10)
        answer.resume()
        with pytest.raises(UpstreamBroken, match="twentieth"):
            await relay
        assert len(taken) == 20


@pytest.mark.parametrize("whole", [True, False])
async def test_one_that_is_closed_while_it_is_held_ends(model: OpenAIHttp, whole: bool) -> None:
    script: list[bytes | float] = [sse(*PAYLOADS)] if whole else kept_open(*PAYLOADS)
    async with scripted(script) as server, model.ask(upstream(server.url), {}, PATIENCE) as answer:
        holding = Holding(answer)
        relay = running(answer, holding)
        await eventually(lambda: len(holding.taken) == 10)
        answer.close()
        answer.resume()
        with pytest.raises(UpstreamBroken):
            await relay
        assert len(holding.taken) == 10


async def test_one_that_is_left_while_it_is_to_go_on_harms_no_other(model: OpenAIHttp) -> None:
    """Its connection is kept, and nobody looks for silence on it any more."""
    body = messages(b"1")
    answered = LENGTH % len(body) + body
    impatient = Patience(connect=5, first_byte=0.2, idle=0.2)
    async with scripted([answered], [1.0, answered]) as server:
        async with model.ask(upstream(server.url), {}, impatient) as answer:
            await answer.relay(_something)
            answer.pause()
            answer.resume()
        taken: list[bytes] = []
        async with model.ask(upstream(server.url), {}, PATIENCE) as answer:
            await answer.relay(_into(taken))
        assert taken == [b"1"]
        assert server.connections == 1


def _something(_: bytes) -> Said:
    return Said.SOMETHING


def _into(taken: list[bytes]) -> Callable[[bytes], Said]:
    def take(payload: bytes) -> Said:
        taken.append(payload)
        return Said.SOMETHING

    return take

"""The policy over many turns: breakers, one fact a turn whatever happens, and reloading the models."""

import asyncio
import random
from typing import Any

import pytest

from common.events.chat import CHAT_REQUESTS
from tests.support.llm_stream import HELLO_TEXT, PATIENCE, AliasUnderTest, World, alias_table, chunk, messages, scripted
from tests.support.waiting import eventually

# How many failures a breaker bears.
FAILURES = 5


async def breaker_open(world: World, upstream: str) -> bool:
    return await world.metric("sonant_chat_breaker_open", f'upstream="{upstream}"') == 1.0


# -- breakers ---------------------------------------------------------------------------------------------------------


async def test_streams_that_break_open_the_breaker_and_recovery_is_probed_by_one(llm_world: World) -> None:
    alias = await llm_world.alias(f"flaky-{FAILURES}+delay-60+cut-after-7", "")
    turns = await asyncio.gather(*(llm_world.ask(alias) for _ in range(FAILURES)))
    assert all(heard.text() == HELLO_TEXT and heard.done for heard, _ in turns)
    assert await breaker_open(llm_world, alias.upstreams[0])
    # Skipped: no request arrives there.
    for _ in range(3):
        heard, fact = await llm_world.ask(alias)
        assert heard.text() == HELLO_TEXT
        assert [attempt.upstream for attempt in fact.attempts] == [alias.upstreams[1]]
    assert len(await llm_world.calls(alias.models[0])) == FAILURES

    async def probed() -> list[Any]:
        facts = [fact for _, fact in await asyncio.gather(*(llm_world.ask(alias) for _ in range(6)))]
        return [fact for fact in facts if fact.upstream == alias.upstreams[0]]

    [probe] = await eventually(probed, timeout=20)
    assert [attempt.outcome for attempt in probe.attempts] == ["completed"]
    assert not await breaker_open(llm_world, alias.upstreams[0])
    _, fact = await llm_world.ask(alias)
    assert fact.upstream == alias.upstreams[0]


async def test_an_outage_of_the_only_upstream_is_told_at_once_and_survived(llm_world: World) -> None:
    """The caller of the first probe leaves, which says nothing: the next one may probe."""
    alias = await llm_world.alias(f"flaky-{FAILURES}+delay-20+chunks-60", tries=1, release="tokens")
    for _ in range(FAILURES):
        await llm_world.ask(alias)
    heard, fact = await llm_world.ask(alias)
    assert heard.end["error"]["code"] == "upstreams_unavailable"
    assert heard.end["error"]["status"] == 503
    assert 1.0 <= heard.end["error"]["retry_after"] <= 5.0
    assert fact.attempts == ()

    async def probing() -> bool:
        async with llm_world.turn(alias) as turn:
            await turn.hears(1)
            if len(await llm_world.calls(alias.models[0])) == FAILURES:
                return False
            await llm_world.stop(turn)
            await turn.ended()
            return True

    await eventually(probing, timeout=20, interval=0.2)
    heard, _ = await llm_world.ask(alias)
    assert heard.end["outcome"] == "completed"


async def test_callers_who_leave_say_nothing_about_the_upstream(llm_world: World) -> None:
    alias = await llm_world.alias("delay-20+chunks-100", "", release="tokens")
    for _ in range(FAILURES + 2):
        async with llm_world.turn(alias) as turn:
            await turn.hears(2)
            await llm_world.stop(turn)
            await turn.ended()
    assert not await breaker_open(llm_world, alias.upstreams[0])
    async with llm_world.turn(alias) as turn:
        await turn.hears(2)
        await llm_world.stop(turn)
        await turn.ended()
    assert (await llm_world.fact(turn.id)).attempts[-1].upstream == alias.upstreams[0]


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_every_turn_leaves_exactly_one_fact(llm_world: World) -> None:
    dice = random.Random(7)
    faults = [
        "",
        "status-500",
        "cut-after-7",
        "stall-after-7",
        "reset",
        "content-filter",
        "quota",
        "delay-20+chunks-80",
    ]
    single = [await llm_world.alias(fault, tries=1) for fault in faults]
    double = [await llm_world.alias(fault, "delay-5") for fault in faults]
    asked: dict[str, str] = {}

    async def one(alias: AliasUnderTest | str) -> None:
        async with llm_world.turn(alias, stream=dice.random() < 0.7, seconds=dice.choice([2.0, 10.0])) as turn:
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.1)
                await llm_world.stop(turn)
            asked[turn.id] = (await turn.ended()).end["outcome"]

    asks: list[AliasUnderTest | str] = [*single, *double, "no-such-model"] * 6
    await asyncio.gather(*(one(alias) for alias in asks))

    async def all_handled() -> bool:
        [status] = await llm_world.log.status([CHAT_REQUESTS])
        return status.lag == {"llm-stream": 0}

    await eventually(all_handled)
    for request_id, outcome in asked.items():
        [event] = await llm_world.facts(request_id)
        assert event.spec.type == f"chat.reply.{outcome}"
    assert set(asked.values()) == {"completed", "interrupted", "failed"}


async def test_a_connection_is_used_again_after_a_whole_stream(llm_world: World) -> None:
    """The end of the body may come a moment after `[DONE]`."""
    said = messages(chunk("One. "), chunk(finish="stop"), b"[DONE]")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    script: list[bytes | float] = [head + b"%x\r\n%b\r\n" % (len(said), said), 0.03, b"0\r\n\r\n"]
    async with scripted(*[script] * 50) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})

        async def used_again() -> bool:
            heard, _ = await llm_world.ask(alias)
            assert heard.done
            return upstream.connections < len(upstream.requests)

        await eventually(used_again, interval=0.1)


# -- the models file --------------------------------------------------------------------------------------------------


def _table(**options: Any) -> str:
    return alias_table("broken", [{"name": "a", "base_url": "http://127.0.0.1:9/v1", "model": "m"}], options)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "this is no TOML",
        "[aliases.a]\nupstreams = []\n",
        _table(larger="nobody"),
        _table(larger="broken"),
        _table(first_byte_timeout=-1),
        _table(unknown=1),
        _table().replace("http:", "ftp:"),
    ],
)
async def test_a_broken_models_file_changes_nothing(llm_world: World, content: str) -> None:
    alias = await llm_world.alias("")
    refusals = await llm_world.metric("sonant_models_reloads_total", 'outcome="refused"')
    await llm_world.judged(content, "refused")
    assert await llm_world.metric("sonant_models_reloads_total", 'outcome="refused"') == refusals + 1
    heard, _ = await llm_world.ask(alias)
    assert heard.text() == HELLO_TEXT
    await llm_world.reload()


async def test_a_reload_adds_and_removes_models_and_spares_running_turns(llm_world: World) -> None:
    alias = await llm_world.alias("delay-40", release="tokens")
    async with llm_world.turn(alias) as turn:
        await turn.hears(2)
        table = {"name": "next", "base_url": f"{llm_world.sandbox}/v1", "model": "sandbox-next"}
        await llm_world.judged(alias_table("next", [table], PATIENCE), "done")
        heard = await turn.ended()
    assert heard.text() == HELLO_TEXT
    assert heard.done
    gone, _ = await llm_world.ask(alias)
    assert gone.end["error"]["code"] == "model_not_found"
    added, _ = await llm_world.ask("next")
    assert added.text() == HELLO_TEXT
    await llm_world.reload()

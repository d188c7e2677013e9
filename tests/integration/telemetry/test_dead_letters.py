"""What telemetry cannot store goes to the dead letters alone, and what it does not know it lets pass."""

import os
from dataclasses import replace

import orjson

from common.docs.asyncapi import PASSPORT
from common.events.chat import CHAT_EVENTS, Usage
from common.events.record import Record
from tests.support.service import World, started
from tests.support.telemetry import all_read, completed, has


async def test_what_cannot_be_read_is_parked_with_its_passport_and_the_rest_goes_on(world: World) -> None:
    broken = replace(completed(1).record(), value=b'{"request_id": 7')
    lacking = replace(completed(2).record(), value=b'{"request_id": "req-2", "surprise": true}')
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        await world.log.publish(completed(0).record(), broken, lacking, completed(3).record())
        await has(world, 2)
        await all_read(world)
    first, second = await world.dead_letters(CHAT_EVENTS)
    assert first.value == broken.value
    assert first.headers["event-id"] == broken.headers["event-id"]
    assert {name for name in first.headers if name.startswith("dlq-")} == PASSPORT["properties"].keys()
    assert first.headers["dlq-topic"] == "chat-events"
    assert first.headers["dlq-handler"] == "telemetry.handlers.on_chat_reply_completed"
    assert first.headers["dlq-error"] == second.headers["dlq-error"] == "ValidationError"


async def test_unknown_fields_are_tolerated_and_unknown_events_are_parked(world: World) -> None:
    record = completed(1).record()
    newer = replace(record, value=orjson.dumps({**orjson.loads(record.value), "mood": {"joy": 0.9}}))
    unheard = Record("chat-events", "k", b"{}", {"event-id": "e", "event-type": "chat.reply.admired/1"})
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        await world.log.publish(unheard, newer)
        await has(world, 1)
        await all_read(world)
    [parked] = await world.dead_letters(CHAT_EVENTS)
    assert parked.headers["event-type"] == "chat.reply.admired/1"


async def test_a_turn_with_odd_values_is_stored_beside_all_others(world: World) -> None:
    odd = [
        completed(1, usage=Usage(prompt_tokens=2**40)),
        completed(2, usage=Usage(prompt_tokens=2**70)),
        completed(3, finished_at=1e300),
        completed(4, request_id=os.urandom(20_000).hex()),
        completed(5, user_id="a\0b", model=r"back\u0000slash", finish_reason="\0"),
    ]
    around = [completed(number) for number in range(100, 400)]
    async with started(world, "telemetry") as telemetry:
        await telemetry.ready()
        await world.publish(*around[:150], *odd, *around[150:])
        await has(world, 305)
        await all_read(world)
    [row] = await world.fetch("SELECT user_id, llm_model FROM telemetry.chat WHERE request_id = 'req-5'")
    assert row == {"user_id": "a\ufffdb", "llm_model": r"back\u0000slash"}
    [row] = await world.fetch(
        "SELECT prompt_tokens FROM telemetry.chat JOIN telemetry.prompt_details USING (keep, day, org_id, id)"
        " WHERE request_id = 'req-1'"
    )
    assert row == {"prompt_tokens": 2**40}
    assert not await world.dead_letters(CHAT_EVENTS)

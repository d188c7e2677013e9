"""Places for large bodies: few at a time, shared out by organisation, given back once."""

import asyncio

from gateway.http.large_bodies import LargeBodies

MIB = 1024 * 1024
HEAVY = b"[" + b"[]," * MIB + b"[]]"


async def test_a_newcomer_gets_a_place_where_one_organisation_has_them_all() -> None:
    bodies = LargeBodies(2)
    held = [bodies.place("acme") for _ in range(2)]
    for place in held:
        await place.enter()
    third = asyncio.create_task(bodies.place("acme").enter())
    await asyncio.sleep(0)
    assert not third.done()
    await asyncio.wait_for(bodies.place("other").enter(), 1)
    assert not third.done()
    held[0].leave()
    held[1].leave()
    await asyncio.wait_for(third, 1)


async def test_a_place_is_taken_once_and_given_back_once() -> None:
    bodies = LargeBodies(1)
    place = bodies.place("acme")
    await place.enter()
    await place.enter()
    place.leave()
    place.leave()
    await asyncio.wait_for(bodies.place("acme").enter(), 1)
    waiting = asyncio.create_task(bodies.place("acme").enter())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_heavy_bodies_are_parsed_one_at_a_time() -> None:
    bodies = LargeBodies(4)
    first, second = bodies.place("acme"), bodies.place("acme")
    await first.weigh(HEAVY)
    waiting = asyncio.create_task(second.weigh(HEAVY))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.wait_for(bodies.place("acme").weigh(b'"light"'), 1)
    first.leave()
    await asyncio.wait_for(waiting, 1)

"""Places: one whose wait is over at the very moment in which a place comes free takes it from nobody."""

import asyncio

import pytest

from common.kernel.places import Places


async def waiting(places: Places, owner: str, seconds: float | None = None) -> "asyncio.Task[bool]":
    task = asyncio.create_task(places.wait(owner, seconds))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("behind", ["acme", "other"])
async def test_a_place_that_comes_free_as_a_wait_ends_goes_to_the_next(behind: str) -> None:
    """Both many large bodies and many records meet this: it was a 500, and a place was lost with it."""
    places = Places(1)
    assert places.take("acme")
    assert places.take("other")  # the one beyond the total
    leaves, stays = await waiting(places, "acme"), await waiting(places, behind)
    leaves.cancel()
    places.give_back("acme")
    places.give_back("other")
    assert await asyncio.wait_for(stays, 1)
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert places.waiting == 0
    places.give_back(behind)
    assert places.take("third")
    assert not places.full or places.waiting == 0


async def test_the_same_where_nobody_else_waits() -> None:
    places = Places(1)
    assert places.take("acme")
    leaves = await waiting(places, "acme")
    leaves.cancel()
    places.give_back("acme")
    await asyncio.wait({leaves})
    assert not places.full
    assert places.take("acme")
    assert places.full


async def test_one_that_times_out_while_places_come_and_go_loses_none() -> None:
    places = Places(4)
    granted = 0

    async def work(owner: str) -> None:
        nonlocal granted
        if places.take(owner) or await places.wait(owner, 0.002):
            granted += 1
            await asyncio.sleep(0.002)
            places.give_back(owner)

    await asyncio.gather(*(work(f"org-{number % 3}") for number in range(400)))
    assert granted >= 4
    assert places.waiting == 0
    # All are free again.
    assert [places.take("one") for _ in range(4)] == [True] * 4

"""Single flight: one piece of work however many ask, over those who leave, fail or find it out of date."""

import asyncio

import pytest

from common.kernel.single_flight import SingleFlight


class Work:
    """Counts how often it was begun; lands when told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.landing = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.landing.wait()
        return number


async def test_those_who_ask_together_get_the_same() -> None:
    flights, work = SingleFlight[str, int]("test"), Work()
    waiting = [asyncio.create_task(flights.run("a", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.landing.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await flights.run("a", work) == 2


async def test_one_who_leaves_does_not_end_it_for_the_others() -> None:
    flights, work = SingleFlight[str, int]("test"), Work()
    first, second = (asyncio.create_task(flights.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.landing.set()
    assert await second == 1


async def test_keys_fly_apart() -> None:
    flights, work = SingleFlight[str, int]("test"), Work()
    both = asyncio.gather(flights.run("a", work), flights.run("b", work))
    await asyncio.sleep(0)
    work.landing.set()
    assert sorted(await both) == [1, 2]


async def test_a_failure_reaches_all_and_the_next_tries_again() -> None:
    flights: SingleFlight[str, int] = SingleFlight("test")

    async def fails() -> int:
        raise ValueError("no")

    both = await asyncio.gather(flights.run("a", fails), flights.run("a", fails), return_exceptions=True)
    assert [type(error) for error in both] == [ValueError, ValueError]
    work = Work()
    work.landing.set()
    assert await flights.run("a", work) == 1


async def test_a_forgotten_flight_lands_for_those_on_board_alone() -> None:
    flights, work = SingleFlight[str, int]("test"), Work()
    seen: dict[int, bool] = {}

    async def fly() -> int:
        number = await work()
        seen[number] = flights.current("a")
        return number

    former = asyncio.create_task(flights.run("a", fly))
    await asyncio.sleep(0)
    flights.forget("a")
    latter = asyncio.create_task(flights.run("a", fly))
    await asyncio.sleep(0)
    work.landing.set()
    assert (await former, await latter) == (1, 2)
    assert seen == {1: False, 2: True}


async def test_closing_ends_what_is_under_way() -> None:
    flights, work = SingleFlight[str, int]("test"), Work()
    waiting = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting

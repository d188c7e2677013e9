"""Fair starts: one owner's thousand begin a few at a time, and whoever comes meanwhile begins at once."""

import asyncio

from common.kernel.fair_starts import AT_ONCE, FairStarts


class World:
    """Work of several owners that notes in which round of the loop it began."""

    def __init__(self) -> None:
        self.starts = FairStarts()
        self.began: list[tuple[str, int]] = []
        self.round = 0

    async def work(self, owner: str) -> None:
        await self.starts.take(owner)
        self.began.append((owner, self.round))

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
            self.round += 1

    def rounds_of(self, owner: str) -> list[int]:
        return [round_ for each, round_ in self.began if each == owner]


async def test_who_is_alone_waits_for_nothing() -> None:
    world = World()
    await asyncio.gather(*(world.work("one") for _ in range(100)))
    assert len(set(world.rounds_of("one"))) == 1


async def test_a_few_begin_at_once_and_the_rest_in_the_order_in_which_it_came() -> None:
    world = World()
    await world.work("other")
    tasks = [asyncio.create_task(world.work("many")) for _ in range(100)]
    await world.rounds(1)
    assert len(world.rounds_of("many")) == AT_ONCE
    await world.rounds(100)
    await asyncio.gather(*tasks)
    rounds = world.rounds_of("many")
    assert rounds == sorted(rounds)
    assert all(rounds.count(each) <= AT_ONCE for each in rounds)
    # It is no brake: every round some begin.
    assert max(rounds) <= 100 // AT_ONCE + 3
    assert world.starts.waiting == 0


async def test_who_comes_new_begins_at_once() -> None:
    world = World()
    await world.work("other")
    tasks = [asyncio.create_task(world.work("many")) for _ in range(1000)]
    await world.rounds(5)
    at = world.round
    tasks += [asyncio.create_task(world.work("quiet"))]
    await world.rounds(2)
    assert world.rounds_of("quiet")[0] - at <= 1
    assert world.starts.waiting > 900
    await asyncio.gather(*tasks)


async def test_one_that_left_takes_nobodys_turn() -> None:
    world = World()
    await world.work("other")
    tasks = [asyncio.create_task(world.work("many")) for _ in range(3 * AT_ONCE)]
    await world.rounds(1)
    for task in tasks[AT_ONCE : 2 * AT_ONCE]:
        task.cancel()
    await world.rounds(3)
    assert len(world.rounds_of("many")) == 2 * AT_ONCE
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.rounds(3)
    assert world.starts.waiting == 0
    # What rests costs nothing.
    assert not world.starts._due

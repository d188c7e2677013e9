"""Several things at once, where what one makes is kept though another fails."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def together(*acts: Awaitable[T]) -> list[T]:
    """What each returned, in their order. All of them end before the first error is raised."""
    done = await asyncio.gather(*acts, return_exceptions=True)
    results = list[T]()
    for each in done:
        if isinstance(each, BaseException):
            raise each
        results.append(each)
    return results

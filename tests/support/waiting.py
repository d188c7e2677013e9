"""Waiting for a condition with a deadline, instead of sleeping for luck."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast


T = TypeVar("T")


async def eventually(
    check: Callable[[], T | Awaitable[T]], *, timeout: float = 10.0, interval: float = 0.02
) -> T:
    """Return the first truthy value of `check`; raise AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = check()
        value = cast("T", await outcome if inspect.isawaitable(outcome) else outcome)
        if value:
            return value
        assert time.monotonic() < deadline, f"condition not met within {timeout} s: {check}"
        await asyncio.sleep(interval)

"""Webhooks of the stand-in of Runware: one flat object for each result, sent again until somebody takes it."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.runware.task_ledger import Task

# As the provider: from 250 ms, doubled.
FIRST_PAUSE = 0.25
TRIES = 6
SECONDS = 5.0
Parts = tuple[list[dict[str, Any]], list[dict[str, Any]]]
# Held so that they are not collected while they run.
_sending: set["asyncio.Task[None]"] = set()


def send_when_done(app: web.Application, task: Task, result: Callable[[], Parts]) -> None:
    """Send the result once there is one; twice or never where the prompt asks for that."""
    if "webhook-never" in task.directives:
        return
    sending = asyncio.get_running_loop().create_task(_send_later(task, result))
    _sending.add(sending)
    sending.add_done_callback(_sending.discard)


async def send_early(app: web.Application, task: Task, result: Parts) -> None:
    """Send it before the task is even acknowledged."""
    await _send(str(task.body["webhookURL"]), _flat(result))


async def _send_later(task: Task, result: Callable[[], Parts]) -> None:
    await asyncio.sleep(max(0.0, task.submitted_at + task.seconds - time.time()))
    for _ in range(2 if "webhook-twice" in task.directives else 1):
        await _send(str(task.body["webhookURL"]), _flat(result()))


def _flat(result: Parts) -> dict[str, Any]:
    """Not wrapped; a failure has no file."""
    data, errors = result
    return (data or errors)[0]


async def _send(url: str, body: dict[str, Any]) -> None:
    pause = FIRST_PAUSE
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        for _ in range(TRIES):
            if await _taken(session, url, body):
                return
            await asyncio.sleep(pause)
            pause *= 2


async def _taken(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with session.post(url, json=body) as answer:
            return answer.status < 300
    return False

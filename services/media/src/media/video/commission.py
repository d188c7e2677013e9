"""A clip by a provider: submitted under an id of ours, waited for, fetched; paid for once, whatever dies meanwhile."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from common.events.backoff import Backoff
from common.events.video import VideoInput
from common.failures import ProviderDown, Refused
from common.jobs.work import Attempt, Work
from media.ports import NeverSent, VideoProgress, VideoProvider, VideoTask

# Between two looks; the provider's own client begins at half a second and goes to ten.
POLLS = Backoff(attempts=1_000_000, first=1.0, ceiling=10.0)
# Of a submission, each after a look whether the one before it arrived.
SUBMISSIONS = 4
SUBMIT_PAUSES = Backoff(attempts=1_000_000, first=0.25, ceiling=4.0)
# Looks in a row that fail before a task is given up: some minutes.
MISSED_LOOKS = 30
# Of a copy of the result: it was paid for.
FETCHES = Backoff(attempts=6, first=0.5, ceiling=10.0)
# Where the work of the provider begins and ends, in percent of the job.
FIRST_PERCENT, LAST_PERCENT = 2.0, 80.0


class ResultLost(ProviderDown):
    """What was paid for cannot be had."""


class Commissioned(BaseModel):
    """A result at a provider, to be fetched."""

    task_id: str
    url: str
    cost_usd: float
    seed: int | None


async def commission(
    work: Work[VideoInput, Any], provider: VideoProvider, task: VideoTask, wait_seconds: float
) -> Commissioned:
    """The provider's result for `task`, whose id is remembered before it is sent.

    Raises ProviderDown where the provider failed or did not answer, and Refused for what it will not do.
    """
    known = await begun(work, provider)
    await work.remember(_key(provider), task.id)
    async with work.attempt(provider.name, "video") as attempt:
        attempt.reference = task.id
        try:
            async with asyncio.timeout(wait_seconds):
                await _submitted(work, provider, task, known)
                done = await _awaited(work, provider, task, attempt)
        except TimeoutError:
            raise ProviderDown(f"The provider was not done within {wait_seconds:g} s.") from None
    return done


async def task_id(work: Work[VideoInput, Any], provider: VideoProvider) -> str:
    """The id under which the provider has, or will have, the task."""
    return str(await work.recall(_key(provider)) or uuid.uuid4())


async def begun(work: Work[VideoInput, Any], provider: VideoProvider) -> bool:
    """Whether the provider may have the task."""
    return await work.recall(_key(provider)) is not None


def _key(provider: VideoProvider) -> str:
    return f"task:{provider.name}"


async def _submitted(work: Work[VideoInput, Any], provider: VideoProvider, task: VideoTask, begun: bool) -> None:
    """Have the provider know the task. Whether an earlier try arrived is looked up before another one is made.

    A provider that cannot be reached is given up soon; one that may have the task already is asked for a while.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            if begun and (await provider.look(task.id)).state != "unknown":
                break
            await provider.submit(task)
            break
        except ProviderDown as down:
            if not begun and not _certain(down):
                begun, attempt = True, 0
            delay = SUBMIT_PAUSES.delay(attempt + 1)
            if delay is None or attempt >= (MISSED_LOOKS if begun else SUBMISSIONS):
                raise
            await asyncio.sleep(max(delay, min(down.retry_after or 0.0, 5.0)))
    work.percent(FIRST_PERCENT)


def _certain(down: ProviderDown) -> bool:
    """Whether what was sent is known not to be done: it was never sent, or the provider says that it failed."""
    return isinstance(down, NeverSent) or down.status is not None


async def _awaited(
    work: Work[VideoInput, Any], provider: VideoProvider, task: VideoTask, attempt: Attempt
) -> Commissioned:
    looks = missed = 0
    while True:
        looks += 1
        await work.sleep(POLLS.delay(looks) or POLLS.ceiling)
        try:
            found = await provider.look(task.id)
        except ProviderDown:
            missed += 1
            if missed >= MISSED_LOOKS:
                raise
            continue
        missed = 0
        if found.state == "done" and found.url is not None:
            attempt.cost_usd = found.cost_usd
            return Commissioned(task_id=task.id, url=found.url, cost_usd=found.cost_usd, seed=found.seed)
        await _judged(work, provider, found)


async def _judged(work: Work[VideoInput, Any], provider: VideoProvider, found: VideoProgress) -> None:
    """Show how far it is; raises for a task that is over without a result, after which its id is good for nothing."""
    if found.state == "processing":
        if found.share is not None:
            work.percent(FIRST_PERCENT + (LAST_PERCENT - FIRST_PERCENT) * found.share)
        return
    await work.forget(_key(provider))
    if found.state == "failed" and found.lasting:
        raise Refused(422, f"The provider did not make it: {found.failure}", "provider_refused")
    raise ProviderDown(f"The provider failed: {found.failure or 'it does not know the task any more'}")


async def fetched(work: Work[VideoInput, Any], provider: VideoProvider, done: Commissioned, path: Path) -> None:
    """Copy the result: the provider's address ends. Raises ResultLost where it cannot be had."""
    attempt = 0
    while True:
        attempt += 1
        try:
            await provider.fetch(done.url, path)
            break
        except ProviderDown as down:
            delay = FETCHES.delay(attempt)
            if delay is None:
                raise ResultLost(f"The provider's file cannot be fetched: {down.message}") from down
            await work.sleep(delay)
        except Refused as refused:
            # The provider named the address: whatever is wrong with it is no fault of the caller's.
            raise ResultLost(f"The provider's file cannot be fetched: {refused.message}") from refused
    work.percent(LAST_PERCENT + 8.0)


async def given_up(work: Work[VideoInput, Any], provider: VideoProvider) -> None:
    """Remember neither task nor result: another round begins with another task."""
    await work.forget(_key(provider))
    await work.forget(f"once:{done_key(provider)}")


def done_key(provider: VideoProvider) -> str:
    """Under which the result of a provider is remembered."""
    return f"done:{provider.name}"

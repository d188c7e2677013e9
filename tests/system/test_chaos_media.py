"""Jobs of every sort while media, the engines and the provider are killed: each ends, and none is paid for twice."""

import asyncio
import random

from tests.support.clients import new_key
from tests.support.media_load import PARTS, MediaLoad, bodies, killing, sandbox_of
from tests.support.sonant import sonant_system

JOBS = 24
SECONDS = 8.0


async def test_every_job_ends_and_none_is_paid_for_twice() -> None:
    dice = random.Random(13)
    # Its own sandbox, which keeps what it charged over its death.
    with sonant_system(own_sandbox=True) as sonant:
        load = MediaLoad(sonant, new_key(sonant, scopes=["media"]).headers)
        parts = [*PARTS, "media"]
        dice.shuffle(parts)
        await asyncio.gather(load.submit(bodies(JOBS, dice), SECONDS), killing(sonant, parts, SECONDS, dice))
        jobs = await load.all_ended(timeout=150)
        assert len(jobs) == JOBS
        ends = await load.check(jobs, sandbox_of(sonant))
        assert ends["completed"] >= JOBS // 3, ends

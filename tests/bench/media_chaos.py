"""`python -m tests.bench.media_chaos`: a hundred mixed jobs while every part is killed ten times.

What `tests/system/test_chaos_media.py` does in little; with `--kafka` on a broker of its own, which is killed too.
Prints how the jobs ended, and fails where a job does not end, a provider was paid twice for one, an asset is not whole,
or something temporary is left.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from deploy.kafka.broker import Broker
from tests.support.clients import new_key
from tests.support.media_load import KAFKA, PARTS, MediaLoad, bodies, killing, sandbox_of
from tests.support.sonant import sonant_system

END_SECONDS = 600.0


async def run(jobs: int, kills: int, seed: int, broker: Broker | None) -> None:
    """Drive it once."""
    dice = random.Random(seed)
    env = {}
    if broker is not None:
        await broker.ready()
        env = {"SONANT_LOG_URL": broker.url}
    began = time.monotonic()
    with sonant_system(own_sandbox=True, env=env) as sonant:
        load = MediaLoad(sonant, new_key(sonant, scopes=["media"]).headers)
        parts = [part for part in (*PARTS, *([KAFKA] if broker else [])) for _ in range(kills)]
        dice.shuffle(parts)
        seconds = 2.0 * len(parts)
        await asyncio.gather(load.submit(bodies(jobs, dice), seconds), killing(sonant, parts, seconds, dice, broker))
        print(f"{len(parts)} kills in {time.monotonic() - began:.0f} s; answers meanwhile: {dict(load.refused)}")
        ended = await load.all_ended(timeout=END_SECONDS)
        ends = await load.check(ended, sandbox_of(sonant))
        codes = Counter(job["error"]["code"] for job in ended if job["state"] == "failed")
        makers = Counter(job["result"]["provider"] for job in ended if job["state"] == "completed")
        outcomes = Counter(attempt["outcome"] for job in ended for attempt in job["attempts"])
        resumed = sum(any(each["event"] == "resumed" for each in job["history"]) for job in ended)
        print(f"{len(ended)} of {len(load.accepted)} accepted jobs ended: {dict(ends)}; made by {dict(makers)}")
        print(f"failed with {dict(codes)}; attempts {dict(outcomes)}; {resumed} jobs were resumed")
        print(f"no job was paid for twice; nothing is left; {time.monotonic() - began:.0f} s in all, seed {seed}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10, help="of each part")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kafka", action="store_true", help="on a broker of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        broker = None
        if options.kafka:
            broker = Broker(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sonant-kafka-"))))
            stack.callback(broker.stop)
            broker.start()
        asyncio.run(run(options.jobs, options.kills, options.seed, broker))


if __name__ == "__main__":
    main()

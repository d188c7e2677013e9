"""`python -m tests.bench.creator_chaos`: films of prompts while every process is killed ten times.

Prints how the jobs ended, and fails where one does not end, a clip was paid for twice, a film or its captions are not
whole, or something temporary is left. Speech has no ids that a provider would know again: a sentence whose call was
under way when its process died is spoken once more, and how many were is printed.
"""

import argparse
import asyncio
import random
import time
import uuid
from collections import Counter
from typing import Any

import httpx

from tests.support.clients import new_key
from tests.support.media_load import PARTS, MediaLoad, killing, sandbox_of
from tests.support.sonant import sonant_system

END_SECONDS = 1200.0
KILLED = (*PARTS, "gateway")


class CreatorLoad(MediaLoad):
    """Submits films."""

    async def check_result(self, client: httpx.AsyncClient, result: dict[str, Any]) -> None:
        film = await self.call(client, "GET", result["url"])
        assert film.status_code == 200, film.text
        assert film.content[4:8] == b"ftyp"
        captions = await self.call(client, "GET", result["captions_url"])
        assert captions.text.count("-->") == len(result["captions"])


def bodies(count: int) -> list[dict[str, Any]]:
    """Films of one clip and one sentence, each about something else."""
    small = {"model": "pixverse:1@1", "duration": 5, "resolution": "360p"}
    return [{"prompt": f"Film {number} {uuid.uuid4().hex} is about the sea.", **small} for number in range(count)]


async def run(films: int, kills: int, seed: int) -> None:
    """Drive it once."""
    dice, began = random.Random(seed), time.monotonic()
    with sonant_system(own_sandbox=True) as sonant:
        load = CreatorLoad(sonant, new_key(sonant, scopes=["media"]).headers, path="/v1/media/content")
        parts = [part for part in KILLED for _ in range(kills)]
        dice.shuffle(parts)
        seconds = 3.0 * len(parts)
        await asyncio.gather(load.submit(bodies(films), seconds * 0.8), killing(sonant, parts, seconds, dice))
        print(f"{len(parts)} kills in {time.monotonic() - began:.0f} s; answers meanwhile: {dict(load.refused)}")
        ended = await load.all_ended(timeout=END_SECONDS)
        ends = await load.check(ended, sandbox_of(sonant))
        codes = Counter(job["error"]["code"] for job in ended if job["state"] == "failed")
        makers = Counter(
            f"{each['part']} by {each['provider']}"
            for job in ended
            if job["state"] == "completed"
            for each in job["result"]["made_by"]
        )
        resumed = sum(any(each["event"] == "resumed" for each in job["history"]) for job in ended)
        async with httpx.AsyncClient() as client:
            speech = (await client.get(f"{sandbox_of(sonant)}/sandbox/speech/charges")).json()
        print(f"{len(ended)} of {len(load.accepted)} films ended: {dict(ends)}; {dict(makers)}")
        print(f"failed with {dict(codes)}; {resumed} were resumed; speech since the sandbox's last start: {speech}")
        print(f"no clip was paid for twice; nothing is left; {time.monotonic() - began:.0f} s in all, seed {seed}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=30)
    parser.add_argument("--kills", type=int, default=10, help="of each process")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.films, options.kills, options.seed))


if __name__ == "__main__":
    main()

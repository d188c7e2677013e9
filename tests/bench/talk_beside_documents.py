"""`python -m tests.bench talk-beside-documents`: first chunks of voice turns, idle and while documents are taken in."""

import argparse
import asyncio
import time
from collections.abc import Sequence

import aiohttp

from tests.bench.system import (
    Target,
    bench_upstream,
    drive,
    scratch_directory,
    sonant_up,
    write_models_file,
)
from tests.bench.tables import table
from tests.support.models import TEXT_MODELS, fetched

STREAMS = 10
# Some three chunks each.
TEXT = "Shoes may be returned within thirty days, if they were worn indoors only, says paragraph {number}. " * 40


async def post(target: Target, documents: int) -> list[str]:
    """Ask for so many documents to be taken in; the ids of their jobs."""
    headers = {"Authorization": f"Bearer {target.key}"}
    places = asyncio.Semaphore(16)
    async with aiohttp.ClientSession(target.url, headers=headers) as http:

        async def one(number: int) -> str:
            body = {"name": f"document {number}", "text": TEXT.format(number=number)}
            async with places, http.post("/v1/documents", json=body, raise_for_status=True) as response:
                return str((await response.json())["id"])

        return await asyncio.gather(*(one(number) for number in range(documents)))


async def ended(target: Target, jobs: Sequence[str]) -> int:
    """How many of these jobs have ended."""
    headers = {"Authorization": f"Bearer {target.key}"}
    count = 0
    async with aiohttp.ClientSession(target.url, headers=headers) as http:
        for job in jobs:
            async with http.get(f"/v1/jobs/{job}", raise_for_status=True) as response:
                count += (await response.json())["state"] in ("completed", "failed", "cancelled")
    return count


def voice(target: Target, seconds: float) -> float:
    """The p99 of first chunks, in ms."""
    return drive(target, STREAMS, seconds, 1.0, target.pids()).load.first_p99


def main(arguments: Sequence[str]) -> int:
    """Measure, and print; 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench talk-beside-documents", description=__doc__)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of voice turns, idle and beside")
    options = parser.parse_args(arguments)
    settings = {"SONANT_MODELS_DIR": str(fetched(*TEXT_MODELS))}
    with scratch_directory() as scratch, bench_upstream() as upstream:
        models = write_models_file(scratch / "models.toml", upstream.url)
        with sonant_up(scratch / "data", models, None, settings) as system:
            idle = voice(system.target, options.seconds)
            jobs = asyncio.run(post(system.target, options.documents))
            began = time.monotonic()
            beside = voice(system.target, options.seconds)
            done = asyncio.run(ended(system.target, jobs))
            took = time.monotonic() - began
    head = ["voice turns, 10 at a time", "idle p99 ms", "beside p99 ms", "ratio", "documents", "taken in meanwhile"]
    row = [
        "first chunk",
        f"{idle:.1f}",
        f"{beside:.1f}",
        f"{beside / idle:.2f}",
        str(len(jobs)),
        f"{done} in {took:.0f} s",
    ]
    print(table(head, [row]))
    return 0

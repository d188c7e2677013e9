"""`python -m tests.bench talk-beside-content`: first chunks of voice turns, idle and while films are analysed."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

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
from tests.bench.talk_beside_documents import STREAMS, ended, voice
from tests.support.films import film, shot
from tests.support.models import fetched, models_dir

MODELS = ("yunet", "mobilenetv2-7", "imagenet-names")
SHOTS, FRAMES = 8, 50
WIDTH, HEIGHT = 1280, 720


def made(folder: Path, count: int) -> list[bytes]:
    """So many films of 16 s in HD, each of its own patterns."""
    films = []
    for number in range(count):
        shots = (shot(100 * number + at, FRAMES, WIDTH, HEIGHT) for at in range(SHOTS))
        path = film(folder / f"{number}.mp4", [frame for frames in shots for frame in frames])
        films.append(path.read_bytes())
    return films


async def post(target: Target, films: Sequence[bytes], rounds: int) -> list[str]:
    """Have each film analysed so often, each time in a project of its own; the ids of the jobs."""
    headers = {"Authorization": f"Bearer {target.key}", "content-type": "video/mp4"}
    jobs = []
    async with aiohttp.ClientSession(target.url, headers=headers) as http:
        for turn in range(rounds):
            for film in films:
                sent = http.post(f"/v1/media/process?project=round-{turn}", data=film, raise_for_status=True)
                async with sent as response:
                    jobs.append(str((await response.json())["id"]))
    return jobs


def main(arguments: Sequence[str]) -> int:
    """Measure, and print; 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench talk-beside-content", description=__doc__)
    parser.add_argument("--films", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10, help="how often each film is analysed")
    parser.add_argument("--seconds", type=float, default=20.0, help="of voice turns, idle and beside")
    options = parser.parse_args(arguments)
    # Beside those of the tests, which look at pictures without models.
    settings = {"SONANT_MODELS_DIR": str(fetched(*MODELS, folder=models_dir().with_name("picture-models")))}
    with scratch_directory() as scratch, bench_upstream() as upstream:
        films = made(scratch, options.films)
        models = write_models_file(scratch / "models.toml", upstream.url)
        with sonant_up(scratch / "data", models, None, settings) as system:
            idle = voice(system.target, options.seconds)
            jobs = asyncio.run(post(system.target, films, options.rounds))
            # The processes that look at films are there, with their models.
            drive(system.target, STREAMS, 3.0, 1.0, system.target.pids())
            before, began = asyncio.run(ended(system.target, jobs)), time.monotonic()
            beside = voice(system.target, options.seconds)
            done, took = asyncio.run(ended(system.target, jobs)) - before, time.monotonic() - began
            left = len(jobs) - before - done
    head = ["voice turns, 10 at a time", "idle p99 ms", "beside p99 ms", "ratio", "analysed meanwhile", "still waiting"]
    row = ["first chunk", f"{idle:.1f}", f"{beside:.1f}", f"{beside / idle:.2f}", f"{done} in {took:.0f} s", str(left)]
    print(table(head, [row]))
    return 0

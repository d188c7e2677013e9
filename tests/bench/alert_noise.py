"""Unauthenticated noise on every route, with a real Prometheus on the shipped rules beside: which alerts fire?

    python -m tests.bench.alert_noise --minutes 10

Ten requests a second go to each route: to all that `/openapi.json` names and to some that nobody serves; without a
key, with a wrong one, with bodies that cannot be read. It needs Prometheus on the path (Debian: apt install
prometheus). No alert may fire: whoever has no key must not be able to wake anybody. The exit code is 1 where one did.
"""

import argparse
import asyncio
import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import uvloop

from tests.bench.strangers import Strangers, Target, target
from tests.support.prometheus import firing, prometheus, targets_of
from tests.support.sonant import sonant_system

REQUESTS_PER_SECOND = 10.0  # of each route
LOOK_SECONDS = 5.0
# Behind the last request: what is pending then may still fire.
AFTER_SECONDS = 130.0
UNKNOWN = ("/wp-login.php", "/.env", "/v1/nothing", "/webhooks/nobody")
METHODS = ("get", "post", "put", "patch", "delete")


def routes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Method and path of every operation, and some that nobody serves."""
    known = [
        (method.upper(), re.sub(r"\{\w+\}", "stranger", path))
        for path, operations in document["paths"].items()
        for method in operations
        if method in METHODS
    ]
    return [*known, *(("GET", path) for path in UNKNOWN)]


async def run(minutes: float, rate: float) -> int:
    """Make noise for so long; prints what was answered and what fired."""
    with sonant_system() as system, prometheus(targets_of(system)) as address:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{system.url}/openapi.json") as response:
                wanted = routes(await response.json())
            targets = [target(urlsplit(system.url).netloc, *route) for route in wanted]
            fired: set[str] = set()
            watching = asyncio.create_task(_watch(http, address, fired))
            took = await Strangers(system.url, targets, rate).run(minutes * 60)
            report(targets, took, rate)
            await asyncio.sleep(AFTER_SECONDS)
            watching.cancel()
    print("alerts that fired:", ", ".join(sorted(fired)) or "none")
    return 1 if fired else 0


def report(targets: Sequence[Target], seconds: float, rate: float) -> None:
    """Print the rate that was reached, and the answers."""
    rates = sorted((each.answered / seconds, f"{each.method} {each.path}") for each in targets)
    reached = [each for each, _ in rates]
    print(f"{len(targets)} routes, {rate:g} requests/s each asked for, over {seconds:.0f} s")
    print(
        f"answered per route and second: lowest {reached[0]:.2f} ({rates[0][1]}), "
        f"median {statistics.median(reached):.2f}; {sum(reached):.0f}/s in all"
    )
    answers: Counter[int | str] = Counter()
    for each in targets:
        answers.update(each.answers)
    print("answers:", ", ".join(f"{what}: {answers[what]}" for what in sorted(answers, key=str)), flush=True)


async def _watch(http: aiohttp.ClientSession, address: str, fired: set[str]) -> None:
    """Note every alert that is seen firing."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for alert in await firing(http, address):
            name = alert["labels"]["alertname"]
            if name not in fired:
                print(f"FIRING: {name} {alert['annotations']['summary']}", flush=True)
            fired.add(name)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=REQUESTS_PER_SECOND, help="requests a second to each route")
    options = parser.parse_args()
    return uvloop.run(run(options.minutes, options.rate))


if __name__ == "__main__":
    sys.exit(main())

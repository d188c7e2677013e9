"""Unauthenticated noise on every route, with a real Prometheus on the shipped rules beside: which alerts fire?

    python -m tests.bench.alert_noise --minutes 10

It needs Prometheus on the path (Debian: apt install prometheus). None may fire: whoever has no key must not be able to
wake anybody. The exit code is 1 where one did.
"""

import argparse
import asyncio
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.sonant import ROOT, Sonant, free_port, sonant_system

REQUESTS_PER_SECOND = 10
LOOK_SECONDS = 5.0
# Behind the last request: what is pending then may still fire.
AFTER_SECONDS = 130.0
UNKNOWN = ("/wp-login.php", "/.env", "/v1/nothing", "/webhooks/nobody")
JSON = {"content-type": "application/json"}
SERVICES = ("gateway", "llm-stream", "media", "resources", "telemetry")


def targets(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Method and path of every operation, and some that nobody serves."""
    known = [
        (method.upper(), re.sub(r"\{\w+\}", "stranger", path))
        for path, operations in document["paths"].items()
        for method in operations
        if method in ("get", "post", "put", "patch", "delete")
    ]
    return [*known, *(("GET", path) for path in UNKNOWN)]


@contextmanager
def prometheus(system: Sonant) -> Iterator[str]:
    """A Prometheus on the shipped rules that scrapes the system; yields its address."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("no prometheus on the path (Debian: apt install prometheus)")
    with tempfile.TemporaryDirectory(prefix="sonant-alerts-") as folder:
        ports = {name: system.run()["processes"][name]["ops_url"].partition("//")[2] for name in SERVICES}
        config = {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(ROOT / "deploy" / "alerts" / "*.yml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [address]}]} for name, address in ports.items()
            ],
        }
        file = Path(folder) / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        command = [
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
        ]
        with (Path(folder) / "out").open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


async def run(minutes: float) -> int:
    """Make noise for so long; prints what was answered and what fired."""
    with sonant_system() as system, prometheus(system) as address:
        async with aiohttp.ClientSession() as http:
            fired: set[str] = set()
            watching = asyncio.create_task(_watch(http, address, fired))
            answers = await _noise(http, system.url, minutes * 60)
            await asyncio.sleep(AFTER_SECONDS)
            watching.cancel()
    print("answers:", ", ".join(f"{status}: {count}" for status, count in sorted(answers.items())))
    print("alerts that fired:", ", ".join(sorted(fired)) or "none")
    return 1 if fired else 0


async def _noise(http: aiohttp.ClientSession, url: str, seconds: float) -> Counter[int]:
    async with http.get(f"{url}/openapi.json") as response:
        wanted = itertools.cycle(targets(await response.json()))
    answers: Counter[int] = Counter()
    ends = time.monotonic() + seconds
    while (begun := time.monotonic()) < ends:
        method, path = next(wanted)
        body = None if method == "GET" else b'{"stranger": true}'
        async with http.request(
            method, url + path, data=body, headers={"content-type": "application/json"}
        ) as response:
            await response.read()
            answers[response.status] += 1
        await asyncio.sleep(max(0.0, begun + 1 / REQUESTS_PER_SECOND - time.monotonic()))
    return answers


async def _watch(http: aiohttp.ClientSession, address: str, fired: set[str]) -> None:
    """Note every alert that is seen firing."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        async with http.get(f"{address}/api/v1/alerts") as response:
            told = await response.json()
        fired |= {alert["labels"]["alertname"] for alert in told["data"]["alerts"] if alert["state"] == "firing"}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    return asyncio.run(run(parser.parse_args().minutes))


if __name__ == "__main__":
    sys.exit(main())

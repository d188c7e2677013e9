"""A real Prometheus on the shipped rules and intervals, beside a running system (Debian: apt install prometheus)."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.sonant import ROOT, Sonant, free_port

SERVICES = ("gateway", "llm-stream", "media", "resources", "telemetry")
STOP_SECONDS = 30.0


def targets_of(system: Sonant) -> dict[str, list[str]]:
    """Where each service tells its metrics, by the name of its job."""
    processes = system.run()["processes"]
    return {name: [processes[name]["ops_url"].partition("//")[2]] for name in SERVICES}


@contextmanager
def prometheus(targets: dict[str, list[str]]) -> Iterator[str]:
    """A Prometheus that scrapes these addresses, by job; yields its own."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("no prometheus on the path (Debian: apt install prometheus)")
    with tempfile.TemporaryDirectory(prefix="sonant-alerts-") as folder:
        file, address = Path(folder) / "prometheus.yml", f"127.0.0.1:{free_port()}"
        file.write_text(yaml.safe_dump(_config(targets)))
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
            process.wait(STOP_SECONDS)


def _config(targets: dict[str, list[str]]) -> dict[str, Any]:
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    return {
        "global": shipped["global"],
        "rule_files": [str(ROOT / "deploy" / "alerts" / "*.yml")],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": addresses}]} for name, addresses in targets.items()
        ],
    }


async def firing(http: aiohttp.ClientSession, address: str) -> Sequence[dict[str, Any]]:
    """The alerts that fire right now, as Prometheus tells them; none while it starts."""
    try:
        async with http.get(f"{address}/api/v1/alerts") as response:
            told = await response.json()
    except aiohttp.ClientConnectionError:
        return []
    return [alert for alert in told["data"]["alerts"] if alert["state"] == "firing"]

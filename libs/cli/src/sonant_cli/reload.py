"""`sonant reload`: the models file, read again by what runs."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import psutil
import typer

from sonant_cli.errors import CliError, SettingsError
from sonant_cli.state import DataDir

SERVICE = "llm-stream"
# Seconds until the service must have said how it went, and between two looks.
PATIENCE = 10.0
PAUSE = 0.1
CHECK_SECONDS = 120.0
COUNTED = re.compile(r'^sonant_models_reloads_total\{[^}]*outcome="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)


def reload() -> None:
    """Have the models file read again, without a restart; one that is wrong changes nothing, and exits with 78."""
    data = DataDir.from_environment()
    entry = data.read_run().get("processes", {}).get(SERVICE, {}) if data.is_running() else {}
    if not entry.get("pid"):
        raise CliError(f"{SERVICE} does not run with the data directory {data.root}: start it with `sonant up`")
    before = _counts(entry["ops_url"])
    os.kill(entry["pid"], signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = _counts(entry["ops_url"])
        if now.get("refused", 0) > before.get("refused", 0):
            raise SettingsError(f"the former models stay: {_why(entry['pid'])}")
        if now.get("done", 0) > before.get("done", 0):
            typer.echo(f"models reloaded (pid {entry['pid']})")
            return
        time.sleep(PAUSE)
    raise CliError(f"{SERVICE} (pid {entry['pid']}) did not say within {PATIENCE:g} s how it went; see {entry['log']}")


def _counts(ops_url: str) -> dict[str, float]:
    """How often the file was read anew since the service started, by outcome."""
    try:
        page = httpx.get(f"{ops_url}/metrics", timeout=PATIENCE, trust_env=False).text
    except httpx.HTTPError as error:
        raise CliError(f"{SERVICE} does not answer on {ops_url}: {error}") from None
    return {outcome: float(count) for outcome, count in COUNTED.findall(page)}


def _why(pid: int) -> str:
    """What is wrong with the file that the running service names, by its own words."""
    try:
        environment = psutil.Process(pid).environ()
        done = subprocess.run(
            [sys.executable, "-m", "llm_stream", "--check"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except (psutil.Error, subprocess.TimeoutExpired) as error:
        return f"see its log ({error})"
    return "; ".join(done.stderr.splitlines()) or "see its log"

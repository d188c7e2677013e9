"""A gateway process of its own on real engines, for tests of what happens at its sockets."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from tests.support.sonant import ROOT, STOP_SECONDS, free_port
from tests.support.waiting import eventually

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    port: int
    ops_port: int
    pid: int
    admin_key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self.ops_port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_key}"}


def _limit_descriptors(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def gateway_process(
    valkey_url: str, database_url: str, *, descriptors: int | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """`python -m gateway`, ready; `descriptors` is its hard limit."""
    port, ops_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="sonant-gateway-") as directory:
        key_file, output = Path(directory) / "admin-key", Path(directory) / "gateway.log"
        settings = {
            "SONANT_LOG_URL": valkey_url,
            "SONANT_REDIS_URL": valkey_url,
            "SONANT_DATABASE_URL": database_url,
            "SONANT_PORT": str(port),
            "SONANT_OPS_PORT": str(ops_port),
            "SONANT_INSTANCE": f"test-{port}",
            "SONANT_ADMIN_KEY_FILE": str(key_file),
            "SONANT_DRAIN_SECONDS": "0.5",
        }
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway"],
                cwd=ROOT,
                env={**os.environ, **settings, **(env or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=None if descriptors is None else partial(_limit_descriptors, descriptors),
            )
        try:
            async with httpx.AsyncClient() as client:

                async def ready() -> bool:
                    assert process.poll() is None, output.read_text()
                    try:
                        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
                    except httpx.HTTPError:
                        return False

                await eventually(ready, timeout=START_SECONDS)
            yield Gateway(port, ops_port, process.pid, key_file.read_text().strip())
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)

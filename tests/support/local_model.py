"""A Sonant whose answers come from a small model on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sonant_cli.loopback import free_ports
from tests.support.models import fetched

MODEL = "smollm2-135m"
READY_SECONDS = 180.0
END_SECONDS = 30.0


def _await_ready(process: subprocess.Popen[str], output: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "sonant ready on" not in (said := output.read_text(errors="replace")):
        assert process.poll() is None, f"sonant up --local-model ended: {said[-2000:]}"
        assert time.monotonic() < deadline, f"sonant up --local-model is not ready: {said[-2000:]}"
        time.sleep(0.1)


@contextmanager
def local_system(data_dir: Path) -> Iterator[tuple[str, str]]:
    """`sonant up --local-model` without any key: its URL and admin key. Raises AssertionError."""
    [port] = free_ports(1)
    ours = ("SONANT_REQUIRE_KAFKA",)
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY") and name not in ours}
    own = {
        "SONANT_DATA_DIR": str(data_dir),
        "SONANT_PORT": str(port),
        "SONANT_MODELS_DIR": str(fetched(MODEL)),
        "PYTHONUNBUFFERED": "1",
    }
    output = data_dir.with_name("up.out")
    command = [str(Path(sys.executable).parent / "sonant"), "up", "--local-model"]
    with output.open("w") as file:
        process = subprocess.Popen(command, env={**kept, **own}, stdout=file, stderr=subprocess.STDOUT, text=True)
    try:
        _await_ready(process, output)
        yield f"http://127.0.0.1:{port}", (data_dir / "admin-key").read_text().strip()
    finally:
        process.terminate()
        process.wait(END_SECONDS)

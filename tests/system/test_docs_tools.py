"""The guide to tools: its examples work as typed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.sonant import ROOT, Sonant

GUIDE = ROOT / "docs" / "tools.md"
RUN_SECONDS = 120


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)


def run(command: list[str], text: str, sonant: Sonant, folder: Path) -> str:
    """Run the text of an example where the key is as after `make run`, against the system of the test."""
    (folder / ".sonant").symlink_to(sonant.data_dir)
    done = subprocess.run(
        [*command, text.replace("http://127.0.0.1:8080", sonant.url)],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_request_names_a_tool_and_hears_its_result(sonant: Sonant, tmp_path: Path) -> None:
    assert "59.97" in run([sys.executable, "-c"], blocks("python")[0], sonant, tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_the_active_set_brings_tools_and_shows_no_secret(sonant: Sonant, tmp_path: Path) -> None:
    (shell,) = blocks("sh")
    # What the answer to the tool's creation shows is looked at beside.
    told = run(["bash", "-euo", "pipefail", "-c"], shell + '\napi GET "/api/hume/tools?id=$ORDER"', sonant, tmp_path)
    assert '"error"' not in told, told
    assert "5.7" in told
    assert '"secret":"sealed:' in told
    assert "c29tZXRoaW5n" not in told


def test_a_sealed_secret_of_somebody_else_is_refused(sonant: Sonant) -> None:
    run = {"url": "https://shop.example/", "secret": "sealed:AAAABBBBCCCCDDDDEEEEFFFF"}
    answer = httpx.post(
        f"{sonant.url}/api/hume/tools",
        headers={
            "Authorization": f"Bearer {(sonant.data_dir / 'admin-key').read_text().strip()}",
            "x-user-id": "user-123",
        },
        json={"name": "order", "parameters": {"type": "object"}, "run": run},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "secret_not_kept")
    assert answer.json()["error"]["param"] == "run.secret"

"""The guide to resources: its examples work as typed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sonant import ROOT, Sonant

GUIDE = ROOT / "docs" / "resources.md"
RUN_SECONDS = 120


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(sonant: Sonant, tmp_path: Path) -> Path:
    """A folder as the guide takes it for granted: the key where `make run` puts it, the commands where they are."""
    (tmp_path / ".sonant").symlink_to(sonant.data_dir)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    return tmp_path


def run(command: list[str], text: str, folder: Path, sonant: Sonant) -> str:
    """Run the text of an example against the system of the test."""
    typed = text.replace("http://127.0.0.1:8080", sonant.url)
    done = subprocess.run(
        [*command, typed],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_every_example_works_as_typed(sonant: Sonant, folder: Path) -> None:
    shell = [block for block in blocks("sh") if "import hume" not in block]
    first, *rest = shell
    (python,) = blocks("python")
    said = run(["bash", "-euo", "pipefail", "-c"], first, folder, sonant)
    assert '"error"' not in said, said
    assert run([sys.executable, "-c"], python, folder, sonant) == "2 Greet the caller by name.\n"
    # What one block defines the next ones use; the resources of the first are found again by their names.
    functions, _, _ = first.partition("PROMPT=")
    found = "".join(
        f"{name}=$(api GET '/api/hume/{kind}s?name={title}' | python3 -c "
        f'\'import json, sys; print(json.load(sys.stdin)["{kind}s"][0]["id"])\')\n'
        for name, kind, title in (("PROMPT", "prompt", "greeter"), ("CONFIG", "config", "front%20desk"))
    )
    said = run(["bash", "-euo", "pipefail", "-c"], functions + found + "\n".join(rest), folder, sonant)
    assert '"error"' not in said, said
    assert '"disabled"' in said

"""The guide to events for internal teams: its program runs with pydantic alone, and with the bus it is heard."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.sonant import ROOT, Sonant
from tests.support.waiting import eventually

GUIDE = ROOT / "docs" / "events.md"
INSTALL_SECONDS = 150
RUN_SECONDS = 30


@pytest.fixture(scope="module")
def program() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return str(block)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh virtual environment."""
    environment = tmp_path_factory.mktemp("internal-team") / "venv"
    _uv("venv", "--quiet", "--python", sys.executable, str(environment))
    return environment / "bin" / "python"


def install(python: Path, extra: str = "") -> set[str]:
    """Install the common package; returns the names of all that is there then."""
    _uv("pip", "install", "--quiet", "--python", str(python), f"{ROOT / 'libs' / 'common'}{extra}")
    listed = _uv("pip", "freeze", "--python", str(python))
    return {re.split(r"[ =@]", line)[0] for line in listed.splitlines()}


def _uv(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "uv"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(python: Path, program: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
    command = [str(python), "-c", program]
    return subprocess.run(
        command, env={**kept, **variables}, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )


def test_an_event_is_built_validated_and_serialised_with_pydantic_alone(python: Path, program: str) -> None:
    there = install(python)
    assert {"sonant-common", "pydantic"} <= there
    # What pydantic itself needs, and nothing of ours.
    assert there <= {
        "sonant-common",
        "pydantic",
        "pydantic-core",
        "annotated-types",
        "typing-extensions",
        "typing-inspection",
    }
    done = run(python, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("resource-commands default resource.create.requested/1 {")
    assert "published" not in done.stdout
    wrong = run(python, program.replace('kind="prompt"', 'kind="prawn"'))
    assert wrong.returncode == 1
    assert "ValidationError" in wrong.stderr


async def test_the_same_program_publishes_with_the_bus_and_a_service_consumes_it(
    python: Path, program: str, sonant: Sonant
) -> None:
    install(python, "[bus]")
    url = str(sonant.urls()["log"])
    done = run(python, program, SONANT_LOG_URL=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("published\n")

    def arrived() -> bool:
        found = httpx.get(
            f"{sonant.url}/api/hume/prompts",
            params={"name": "from-the-content-team"},
            headers={**sonant.headers, "x-user-id": "ada"},
        )
        return bool(found.json().get("prompts"))

    await eventually(arrived)

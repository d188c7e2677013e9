"""Clients that generators make of `/openapi.json`: made without a warning, checked for types, and used."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import new_key
from tests.support.locked_tools import installed, node_is_there, python_tool
from tests.support.sonant import Sonant

SOURCE = Path(__file__).parent / "made_clients"
BIN = Path(sys.executable).parent
SECONDS = 600


def run(command: Sequence[str | Path], directory: Path, **env: str) -> str:
    """What the command prints; it has ended well."""
    done = subprocess.run(
        list(command),
        cwd=directory,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def found(sonant: Sonant, command: Sequence[str | Path], directory: Path, **env: str) -> dict[str, Any]:
    """What the ten calls of a program found."""
    key = new_key(sonant, scopes=("chat", "resources", "media", "admin")).text
    printed = run(command, directory, SONANT_URL=sonant.url, SONANT_KEY=key, **env)
    said: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return said


def expect(said: dict[str, Any], name: str) -> None:
    """The ten calls did what they say."""
    assert said.pop("answer")
    assert said == {"version": 1, "versions": 2, "listed": [name], "gone": said["gone"]}
    assert "not_found" in said["gone"]


@pytest.fixture(scope="module")
def workshop(sonant: Sonant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the document and the programs."""
    folder = tmp_path_factory.mktemp("clients") / "workshop"
    shutil.copytree(SOURCE, folder)
    (folder / "openapi.json").write_bytes(httpx.get(f"{sonant.url}/openapi.json").content)
    return folder


def test_openapi_python_client(sonant: Sonant, workshop: Path) -> None:
    generator = python_tool(SOURCE / "generator.lock")
    command: list[str | Path] = [
        generator / "openapi-python-client",
        "generate",
        "--path",
        "openapi.json",
        "--output-path",
        "python",
    ]
    told = run([*command, "--fail-on-warning"], workshop)
    assert "arning" not in told, told
    check: list[str | Path] = [
        BIN / "mypy",
        "--strict",
        "--follow-imports",
        "silent",
        "--python-executable",
        generator / "python",
    ]
    run([*check, "ten_calls.py"], workshop, MYPYPATH="python")
    expect(found(sonant, [generator / "python", "ten_calls.py"], workshop, PYTHONPATH="python"), "Renamed")


@pytest.fixture(scope="module")
def built(workshop: Path) -> Path:
    """The folder with both programs in JavaScript: both clients are made and their types are checked."""
    if not node_is_there():
        pytest.skip("no npm: install Node.js 20 or newer to make clients in TypeScript")
    (workshop / "node_modules").symlink_to(installed(SOURCE))
    bins = workshop / "node_modules" / ".bin"
    told = run([bins / "openapi-typescript", "openapi.json", "-o", "types.ts"], workshop)
    told += run([bins / "openapi-ts"], workshop)
    assert "warn" not in told.lower(), told
    run([bins / "tsc"], workshop)
    return workshop / "built"


def test_openapi_typescript(sonant: Sonant, built: Path) -> None:
    expect(found(sonant, ["node", built / "fetch_calls.js"], built.parent), "Refetched")


def test_hey_api(sonant: Sonant, built: Path) -> None:
    expect(found(sonant, ["node", built / "sdk_calls.js"], built.parent), "Rekeyed")

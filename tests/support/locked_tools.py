"""Packages of npm and tools of Python for tests, installed once per lock file in a folder of the user's cache."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sonant"
# A first download on a slow line; later runs find it in the cache.
INSTALL_SECONDS = 150


def node_is_there() -> bool:
    """Whether this machine has Node.js with npm."""
    return all(map(shutil.which, ("npm", "node")))


def installed(source: Path) -> Path:
    """The folder `node_modules` with what the lock file in `source` names."""
    return _kept("node", source / "package-lock.json", lambda draft: _install(source, draft)) / "node_modules"


def python_tool(lock: Path) -> Path:
    """The folder with the commands of what the lock file names: in an environment of its own, beside ours."""
    return _kept("python", lock, lambda draft: _install_tool(lock, draft)) / "bin"


def _kept(kind: str, lock: Path, install: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    home = CACHE / f"{kind}-{digest}"
    if not home.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as draft:
            install(Path(draft) / "packages")
            (Path(draft) / "packages").rename(home)
    return home


def _install(source: Path, directory: Path) -> None:
    directory.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, directory)
    _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], directory)


def _install_tool(lock: Path, directory: Path) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    # It is moved when it is whole.
    _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(directory)], directory.parent)
    into = ["--python", str(directory / "bin" / "python"), "--require-hashes", "-r", str(lock)]
    _run([uv, "pip", "install", "--quiet", *into], directory.parent)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, done.stderr

"""What `sonant up` keeps on disk: the data directory, its lock, its secrets and the record of what runs."""

import errno
import fcntl
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonant_cli.errors import CliError, SettingsError


class AlreadyRunningError(CliError):
    """Another `sonant up` holds the lock of this data directory."""


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, readable by its owner alone. What says so already takes no room."""
    if _says(path, text):
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _says(path: Path, text: str) -> bool:
    """Whether `path` holds `text` and nobody else may read it."""
    try:
        return path.stat().st_mode & 0o077 == 0 and path.read_text() == text
    except (OSError, ValueError):
        return False


def _read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty where there is none or it cannot be read as one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class DataDir:
    """The directory that holds everything one installation keeps (`SONANT_DATA_DIR`, default `./.sonant`)."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "DataDir":
        return cls(Path(environ.get("SONANT_DATA_DIR") or ".sonant"))

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def admin_key(self) -> Path:
        """Where the gateway leaves the first admin key."""
        return self.root / "admin-key"

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    def create(self) -> None:
        """Make the directories, private to whoever runs this; those above are left as they are.

        Raises:
            SettingsError: they cannot be made or written.
        """
        try:
            self._create()
        except OSError as error:
            raise SettingsError(self._unusable(error)) from None

    def _unusable(self, error: OSError) -> str:
        why = "is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        return f"SONANT_DATA_DIR: {self.root}: {why}; expected is a folder of yours that can be written"

    def complaint(self) -> str:
        """Why `create` would fail, as far as can be seen without writing; empty where it would not."""
        place = next((each for each in (self.root, *self.root.parents) if os.path.lexists(each)), self.root)
        if not place.is_dir():
            return self._unusable(NotADirectoryError())
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            return self._unusable(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        if place == self.root and os.geteuid() not in (0, place.stat().st_uid):
            return self._unusable(PermissionError(errno.EPERM, "belongs to another account"))
        return ""

    def _create(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        # Where the database has an account of its own and cannot be led in, it passes through (sonant_cli.engines).
        self.root.chmod(0o711 if os.geteuid() == 0 and sys.platform != "linux" else 0o700)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one supervisor; the kernel lets go of it however the process ends.

        Raises:
            AlreadyRunningError: another process holds it.
        """
        with open(os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunningError(self._who_runs()) from None
            yield

    def _who_runs(self) -> str:
        run = self.read_run()
        where = f" on {run['url']} (pid {run['pid']})" if {"url", "pid"} <= run.keys() else ""
        return f"sonant already runs{where} with the data directory {self.root}"

    def is_running(self) -> bool:
        """Whether a supervisor holds the directory right now."""
        if not (self.root / "lock").exists():
            return False
        try:
            with self.lock():
                return False
        except AlreadyRunningError:
            return True

    def read_run(self) -> dict[str, Any]:
        """The record of what runs: `{"url", "pid", "processes": {name: {...}}}`; empty when there is none."""
        return _read_json(self.run_file)

    def write_run(self, run: Mapping[str, Any]) -> None:
        write_private(self.run_file, json.dumps(run, indent=2) + "\n")

    def read_urls(self) -> dict[str, str]:
        """The engines' addresses, passwords included: `log`, `redis`, `database`."""
        return {name: str(url) for name, url in _read_json(self.root / "urls.json").items()}

    def write_urls(self, urls: Mapping[str, str]) -> None:
        write_private(self.root / "urls.json", json.dumps(dict(urls), indent=2) + "\n")

    def secret(self, name: str) -> str:
        """The password called `name`: created on first use, and the same from then on."""
        path = self.root / "secrets.json"
        known = _read_json(path)
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            write_private(path, json.dumps(known) + "\n")
        return str(known[name])

"""How a client is set up: from arguments, else from the environment, else from the defaults here."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, TypedDict
from urllib.parse import urlsplit

from huggingplace.errors import ConfigurationError, HuggingPlaceError, SpoolError
from huggingplace.transports.transport import Transport

PREFIX = "HUGGINGPLACE_"
MODES = ("prod", "dev")
FSYNC = ("never", "interval", "always")
# What the server takes at once.
MOST_ITEMS = 1_000
MOST_BYTES = 5 * 1024 * 1024 - 1024

Mask = Callable[[dict[str, Any]], dict[str, Any]]
OnError = Callable[[HuggingPlaceError], None]


class Settings(TypedDict, total=False):
    """The keyword arguments of a client beside key, organisation and mode; see `Options`."""

    base_url: str
    enabled: bool
    transport: Transport | str
    on_error: OnError
    mask: Mask
    sample_rate: float
    environment: str
    release: str
    flush_interval: float
    batch_items: int
    batch_bytes: int
    max_item_bytes: int
    timeout: float
    compress: bool
    spool: bool
    spool_dir: str | Path
    max_spool_bytes: int
    max_memory_bytes: int
    fsync: str
    exit_timeout: float


@dataclass(frozen=True)
class Options:
    """Every setting; the environment variable of each is its name in capitals behind `HUGGINGPLACE_`."""

    # The key of scope `ingest`, and the organisation it belongs to.
    api_key: str = ""
    org_id: str = ""
    # "prod" or "dev": kept apart at the server.
    mode: str = "prod"
    # Where the server is; the default is where `make run` listens.
    base_url: str = "http://127.0.0.1:8080"
    # False: everything can be called, and nothing is kept or sent.
    enabled: bool = True
    # "http", "stdout", "file:<path>", or an object (`Transport`).
    transport: Transport | str = "http"
    # Told what is not raised, from any thread; without one a line is logged, at most one a minute for each kind.
    on_error: OnError | None = None
    # Sees each item before it is kept, and returns what is to be kept instead.
    mask: Mask | None = None
    # The share of traces that is delivered, by a hash of the trace: 0 none, 1 all.
    sample_rate: float = 1.0
    # Go into each interaction that has none of its own.
    environment: str | None = None
    release: str | None = None
    # Seconds that something waits for a batch to fill.
    flush_interval: float = 1.0
    # A batch goes out at so many items, or so many bytes.
    batch_items: int = 100
    batch_bytes: int = 1024 * 1024
    # A larger item is dropped and told; the server takes 2 MiB.
    max_item_bytes: int = 2 * 1024 * 1024
    # Seconds for one request, from its first byte to the last one of the answer.
    timeout: float = 10.0
    # Send gzip.
    compress: bool = True
    # False: what is logged waits in memory alone.
    spool: bool = True
    # The directory of the spool; without one, `huggingplace` in the user's state directory.
    spool_dir: str | Path | None = None
    # Of the directory; past it new items are dropped and told.
    max_spool_bytes: int = 256 * 1024 * 1024
    # Of what waits in memory, where there is no disk to be had; past it new items are dropped and told.
    max_memory_bytes: int = 8 * 1024 * 1024
    # When files of the spool are synced to the disk: "never", "always" (in `log`), or "interval": each second while the
    # server takes nothing.
    fsync: str = "interval"
    # Seconds that the end of the process waits for what is not delivered.
    exit_timeout: float = 5.0

    @property
    def destination(self) -> str:
        """A name for where items go; a spool belongs to one of them."""
        name = self.transport if isinstance(self.transport, str) else self.transport.name
        return hashlib.sha256("\n".join((name, self.base_url, self.org_id)).encode()).hexdigest()[:16]

    @property
    def spool_path(self) -> Path:
        """The directory of this client's spool; raises SpoolError where there is no safe place for it."""
        return Path(self.spool_dir or _state_directory()) / self.destination


def read_options(given: Mapping[str, Any], environment: Mapping[str, str]) -> Options:
    """The settings; an argument of None counts as not given. Raises ConfigurationError."""
    values: dict[str, Any] = {}
    known = {field.name: field for field in fields(Options)}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"There is no setting {name!r}.")
    for name, field in known.items():
        value = given.get(name)
        if value is None and field.name not in ("on_error", "mask"):
            value = _from_text(name, environment.get(PREFIX + name.upper()), field.default)
        if value is not None:
            values[name] = value
    options = Options(**values)
    _check(options)
    return options


def _from_text(name: str, text: str | None, default: Any) -> Any:
    if text is None or not text.strip():
        return None
    text = text.strip()
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "on": True}.get(text.lower()) or _false(text)
        if isinstance(default, (int, float)):
            return type(default)(text)
    except ValueError as error:
        raise ConfigurationError(f"{PREFIX}{name.upper()} is no {type(default).__name__}: {text!r}") from error
    return text


def _false(text: str) -> bool:
    if text.lower() not in ("0", "false", "no", "off"):
        raise ValueError(text)
    return False


def _check(options: Options) -> None:
    _check_types(options)
    if options.enabled and options.transport == "http":
        for name in ("api_key", "org_id"):
            if not getattr(options, name):
                raise ConfigurationError(f"{name} is missing: give it, or set {PREFIX}{name.upper()}.")
        _check_header(options.api_key)
        _check_url(options.base_url)
    if options.mode not in MODES:
        raise ConfigurationError(f"mode must be one of {', '.join(MODES)}, not {options.mode!r}.")
    if options.fsync not in FSYNC:
        raise ConfigurationError(f"fsync must be one of {', '.join(FSYNC)}, not {options.fsync!r}.")
    for name, least, most in (
        ("sample_rate", 0.0, 1.0),
        ("flush_interval", 0.01, 3600.0),
        ("batch_items", 1, MOST_ITEMS),
        ("batch_bytes", 1, MOST_BYTES),
        ("max_item_bytes", 1024, 4 * 1024 * 1024),
        ("timeout", 0.1, 600.0),
        ("max_spool_bytes", 64 * 1024, 2**40),
        ("max_memory_bytes", 64 * 1024, 2**40),
        ("exit_timeout", 0.0, 600.0),
    ):
        if not least <= getattr(options, name) <= most:
            raise ConfigurationError(f"{name} must be from {least} to {most}, not {getattr(options, name)!r}.")


def _check_types(options: Options) -> None:
    for field in fields(Options):
        value, default = getattr(options, field.name), field.default
        if field.name in ("on_error", "mask"):
            if value is not None and not callable(value):
                raise ConfigurationError(f"{field.name} must be callable.")
        elif field.name == "transport":
            if not isinstance(value, (str, Transport)):
                raise ConfigurationError("transport must be the name of one, or a Transport.")
        elif isinstance(default, bool) != isinstance(value, bool) or (
            isinstance(default, (int, float)) and not isinstance(value, (int, float))
        ):
            raise ConfigurationError(f"{field.name} must be a {type(default).__name__}.")
        elif isinstance(default, str) and not isinstance(value, str):
            raise ConfigurationError(f"{field.name} must be a text.")


def _check_header(api_key: str) -> None:
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigurationError("api_key holds what no key does: a space, a line break, or no ASCII.")


def _check_url(base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        port_is_fine = url.port is None or url.port > 0
    except ValueError as error:
        raise ConfigurationError(f"base_url is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_fine:
        raise ConfigurationError(f"base_url must begin with http:// or https:// and name a host, not {base_url!r}.")
    if url.username or url.query or url.fragment:
        raise ConfigurationError("base_url must have no credentials, no query and no fragment.")


def _state_directory() -> Path:
    """Where a user's programs keep what has to outlive them; among the temporary files where there is no home."""
    given = os.environ.get("XDG_STATE_HOME")
    if given:
        return Path(given) / "huggingplace"
    home = Path(os.path.expanduser("~"))
    if home.is_dir() and os.access(home, os.W_OK):
        return home / ".local" / "state" / "huggingplace"
    return _temporary_directory()


def _temporary_directory() -> Path:
    """A directory that everybody can see, and that must not have been laid out by somebody else."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    directory = Path(tempfile.gettempdir()) / f"huggingplace-{user}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise SpoolError(f"There is no place for a spool: {error}") from error
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != user):
        raise SpoolError(f"There is no place for a spool: {directory} is somebody else's.")
    return directory

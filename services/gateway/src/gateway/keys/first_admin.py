"""The first admin key of an installation: made once in the life of its database, and handed over in a file."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.keys.api_key import issue
from gateway.ports import KeyLimits, KeyStore, Scope

log = structlog.get_logger(__name__)

# The operator's own organisation: its admins manage the keys of all.
OPERATOR = "default"


async def ensure_admin(store: KeyStore, file: Path) -> None:
    """See to it that the operator was given an admin key in `file`: once, whatever has become of key and file since.

    A file that is lost or was deleted, as it should be, must hand no rights to whoever starts a gateway.

    Raises:
        AdminKeyFileError: the file cannot be written; no key was made.
    """
    issued = issue("first admin", OPERATOR, frozenset(Scope), KeyLimits(), datetime.now(UTC), None)
    # Before it is stored: a key that nobody knows must not live.
    if await store.add_first_admin(issued.record, lambda: write_private(file, issued.key + "\n")):
        log.info("admin key written", file=str(file))


class AdminKeyFileError(Exception):
    """Where the first admin key was to be handed over."""


def write_private(file: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all. Raises AdminKeyFileError."""
    try:
        _write_private(file, text)
    except OSError as error:
        raise AdminKeyFileError(f"SONANT_ADMIN_KEY_FILE: {file} cannot be written: {error.strerror}") from error


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)

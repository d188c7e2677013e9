"""The first admin key of an installation: made where there is none, and handed over in a file."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.keys.api_key import KEY_PATTERN, issue
from gateway.ports import KeyLimits, KeyStore, Scope

log = structlog.get_logger(__name__)

# The operator's own organisation: its admins manage the keys of all.
OPERATOR = "default"


async def ensure_admin(store: KeyStore, file: Path) -> None:
    """See to it that the operator has an admin key: a new one goes to `file` if that holds none or none is live."""
    issued = issue("first admin", OPERATOR, frozenset(Scope), KeyLimits(), datetime.now(UTC), None)

    def wanted(live: bool) -> bool:
        if live and holds_key(file):
            return False
        # Before it is stored: a key that nobody knows must not live.
        write_private(file, issued.key + "\n")
        return True

    if await store.add_admin(issued.record, wanted):
        log.info("admin key written", file=str(file))


def holds_key(file: Path) -> bool:
    """Whether the file is there and holds the text of a key."""
    return file.exists() and KEY_PATTERN.fullmatch(file.read_text().strip()) is not None


def write_private(file: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)

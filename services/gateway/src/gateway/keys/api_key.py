"""The text of an API key, its id, and what is stored of it."""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.ports import KeyLimits, KeyRecord

KEY_ID = re.compile(r"[A-Za-z0-9]{12}")
KEY_PATTERN = re.compile(rf"sk-sonant-({KEY_ID.pattern})-[A-Za-z0-9_-]{{43}}")
KEY_ID_CHARS = string.ascii_letters + string.digits
KEY_ID_LENGTH = 12
SECRET_BYTES = 32  # 43 characters in URL-safe base64


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: the only moment its text is known."""

    record: KeyRecord
    key: str


def issue(
    name: str,
    org_id: str,
    scopes: frozenset[str],
    limits: KeyLimits,
    now: datetime,
    lifetime: timedelta | None,
    *,
    budget_id: str | None = None,
) -> IssuedKey:
    """A new key, not stored yet; `budget_id` is that of the key it replaces."""
    key_id = "".join(secrets.choice(KEY_ID_CHARS) for _ in range(KEY_ID_LENGTH))
    key = f"sk-sonant-{key_id}-{secrets.token_urlsafe(SECRET_BYTES)}"
    expires_at = None if lifetime is None else now + lifetime
    record = KeyRecord(key_id, digest(key), name, org_id, scopes, limits, now, expires_at, budget_id=budget_id)
    return IssuedKey(record, key)


def digest(key: str) -> bytes:
    """What is stored of a key.

    A fast hash is right here: the secret has 256 random bits, so there is no dictionary to try, and a slow
    hash would only slow down every request.
    """
    return hashlib.sha256(key.encode()).digest()

"""Secrets at rest: sealed where they come in, opened only where they are used.

A sealed secret is text that may be stored, exported and shown: without the key it says nothing, and it opens only for
the organisation it was sealed for. Fernet (https://github.com/fernet/spec) does the work.
"""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

PREFIX = "sealed:"
# Keys of an HMAC have some dozens.
MAX_SECRET_CHARACTERS = 500
# A key is random, and so long that nobody tries all of them: no slow derivation is needed.
MIN_KEY_CHARACTERS = 32


class SecretError(Exception):
    """A secret cannot be sealed or opened; the message says why."""


class SecretBox:
    """Seals with the first of `keys`, and opens what any of them sealed; without keys it does neither.

    A key is at least `MIN_KEY_CHARACTERS` random characters. Raises ValueError for a shorter one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._box = MultiFernet([_fernet(key) for key in keys]) if keys else None

    def seal(self, secret: str, org_id: str) -> str:
        """The secret for an organisation, sealed; one that is sealed already stays as it is. Raises SecretError."""
        if secret.startswith(PREFIX):
            self.open(secret, org_id)
            return secret
        if self._box is None:
            raise SecretError("this installation keeps no secrets: SONANT_SECRET_KEYS is not set")
        return PREFIX + self._box.encrypt(f"{org_id}\n{secret}".encode()).decode()

    def open(self, sealed: str, org_id: str) -> str:
        """What was sealed for this organisation. Raises SecretError."""
        try:
            opened = None if self._box is None else self._box.decrypt(sealed.removeprefix(PREFIX))
        except InvalidToken:
            opened = None
        owner, _, secret = (opened or b"").decode().partition("\n")
        if opened is None or owner != org_id:
            raise SecretError("the secret was sealed with another key, or for another organisation")
        return secret


def _fernet(key: str) -> Fernet:
    if len(key) < MIN_KEY_CHARACTERS:
        raise ValueError(f"a key has at least {MIN_KEY_CHARACTERS} characters")
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"sonant secret box\n" + key.encode()).digest()))


def secret_keys(text: str) -> list[str]:
    """The keys in a setting: a comma list."""
    return [key.strip() for key in text.split(",") if key.strip()]

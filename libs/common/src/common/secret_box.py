"""Secrets at rest: sealed where they come in, opened only where they are used.

A sealed secret is text that may be stored, exported and shown: without the key it says nothing, and it opens only for
the organisation it was sealed for. AES-SIV (RFC 5297) does the work: the same secret is sealed the same way, so that a
request that is repeated is still the same request.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

PREFIX = "sealed:"
PLAIN_PREFIX = "plain:"
NAME_PURPOSE = "name"
# A key is random, and so long that nobody tries all of them: no slow derivation is needed.
MIN_KEY_CHARACTERS = 32


class SecretError(Exception):
    """A secret cannot be sealed or opened; the message says why."""


class SecretBox:
    """Seals with the first of `keys`, and opens what any of them sealed; without keys it does neither.

    A key is at least `MIN_KEY_CHARACTERS` random characters. Raises ValueError for a shorter one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._ciphers = [_cipher(key) for key in keys]

    @property
    def works(self) -> bool:
        """Whether there is a key to seal with."""
        return bool(self._ciphers)

    def seal_bytes(self, data: bytes, org_id: str, purpose: str) -> bytes:
        """Any bytes for an organisation and a purpose, sealed; 16 longer. Raises SecretError."""
        if not self._ciphers:
            raise SecretError("nothing can be sealed, since SONANT_SECRET_KEYS is not set")
        return self._ciphers[0].encrypt(data, [purpose.encode(), org_id.encode()])

    def open_bytes(self, sealed: bytes, org_id: str, purpose: str) -> bytes:
        """What `seal_bytes` was given. Raises SecretError."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed, [purpose.encode(), org_id.encode()])
            except (InvalidTag, ValueError):
                continue
        raise SecretError(f"this {purpose} was sealed with another key, or for another organisation")

    def seal_name(self, name: str, org_id: str) -> str:
        """The name of a user or session for a record or a table; as it is where nothing can be sealed."""
        if not self._ciphers:
            return PLAIN_PREFIX + name
        return PREFIX + base64.urlsafe_b64encode(self.seal_bytes(name.encode(), org_id, NAME_PURPOSE)).decode()

    def open_name(self, sealed: str, org_id: str) -> str:
        """What `seal_name` was given. Raises SecretError."""
        if sealed.startswith(PLAIN_PREFIX):
            return sealed.removeprefix(PLAIN_PREFIX)
        try:
            data = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX).encode())
        except (binascii.Error, ValueError):
            data = b""
        return self.open_bytes(data, org_id, NAME_PURPOSE).decode()

    def seal(self, secret: str, org_id: str) -> str:
        """The secret for an organisation, sealed; one that is sealed already stays as it is. Raises SecretError."""
        if secret.startswith(PREFIX):
            self.open(secret, org_id)
            return secret
        if not self._ciphers:
            raise SecretError("this installation keeps no secrets, since SONANT_SECRET_KEYS is not set")
        sealed = self._ciphers[0].encrypt(secret.encode(errors="replace"), [org_id.encode()])
        return PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, org_id: str) -> str:
        """What was sealed for this organisation. Raises SecretError."""
        try:
            data = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX).encode())
        except (binascii.Error, ValueError):
            data = b""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(data, [org_id.encode()]).decode()
            except InvalidTag:
                continue
        raise SecretError("the secret was sealed with another key, or for another organisation")


def _cipher(key: str) -> AESSIV:
    if len(key) < MIN_KEY_CHARACTERS:
        raise ValueError(f"a key has at least {MIN_KEY_CHARACTERS} characters")
    return AESSIV(hashlib.sha512(b"sonant secret box\n" + key.encode()).digest())


def secret_keys(text: str) -> list[str]:
    """The keys in a setting: a comma list."""
    return [key.strip() for key in text.split(",") if key.strip()]

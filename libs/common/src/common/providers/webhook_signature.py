"""Signatures of what is sent out, as Standard Webhooks (https://www.standardwebhooks.com) has them.

A receiver finds libraries for them in every language. The signature covers the id of the message, when it was sent
(unix seconds) and the body.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET_PREFIX = "whsec_"  # noqa: S105 - how such a secret begins
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Ed25519, both halves as texts with their prefixes."""

    private: str
    public: str


def new_secret() -> str:
    """A secret for HMAC-SHA256."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_key_pair() -> KeyPair:
    """A pair for Ed25519."""
    key = Ed25519PrivateKey.generate()
    return KeyPair(
        PRIVATE_PREFIX + base64.b64encode(key.private_bytes_raw()).decode(),
        PUBLIC_PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode(),
    )


def signature(secret: str, id: str, body: bytes, at: int, *, also: Sequence[str] = ()) -> dict[str, str]:
    """The headers that prove a message: with `secret`, and with `also` during a rotation."""
    signed = b"%b.%d.%b" % (id.encode(), at, body)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(_one(each, signed) for each in (secret, *also)),
    }


def jwk(public: str) -> dict[str, Any]:
    """A public key as RFC 8037 writes it; `kid` is the beginning of the SHA-256 of the key."""
    raw = base64.b64decode(public.removeprefix(PUBLIC_PREFIX))
    Ed25519PublicKey.from_public_bytes(raw)
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": hashlib.sha256(raw).hexdigest()[:16],
        "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode(),
    }


def _one(secret: str, signed: bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix(PRIVATE_PREFIX)))
        return f"v1a,{base64.b64encode(key.sign(signed)).decode()}"
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    """The bytes of a secret: with the prefix `whsec_` they are in base64."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()

"""Addresses at which a provider may call back: nobody can guess one, and no table is needed to read it."""

import hashlib
import hmac
import re
from collections.abc import Sequence

TOKEN = re.compile(r"(job_[0-9a-f]{32})\.([0-9a-f]{48})")
DIGEST_CHARS = 48


def token(keys: Sequence[str], job_id: str) -> str:
    """The token of a job, made with the first key. Raises ValueError without a key."""
    if not keys:
        raise ValueError("no key to make tokens with")
    return f"{job_id}.{_digest(keys[0], job_id)}"


def job_of(keys: Sequence[str], given: str) -> str | None:
    """The job of a token that one of the keys made, else None."""
    found = TOKEN.fullmatch(given)
    if found is None:
        return None
    # Every key is tried, and no comparison ends early: how long it takes tells nothing.
    genuine = [hmac.compare_digest(_digest(key, found[1]), found[2]) for key in keys]
    return found[1] if any(genuine) else None


def _digest(key: str, job_id: str) -> str:
    return hmac.new(key.encode(), b"callback:" + job_id.encode(), hashlib.sha256).hexdigest()[:DIGEST_CHARS]

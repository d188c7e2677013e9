"""Links to one asset, or another file with an id of its own, that work without an API key, until they expire.

A link says which organisation's asset it is and until when; an HMAC-SHA256 over all of that, with a key derived from
those that seal secrets, proves that we made it. The first key signs, all of them verify: a link survives a rotation as
long as the old key is kept.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from common.failures import Refused

SIGNATURE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: the asset, until when (unix seconds), and whether a browser is to save it."""

    org_id: str
    asset_id: str
    expires: int
    download: bool = False

    @property
    def signed(self) -> bytes:
        return f"{self.org_id}\n{self.asset_id}\n{self.expires}\n{int(self.download)}".encode()


class SignedLinks:
    """Makes and checks links. Raises Refused 503 without a key."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [hashlib.sha512(b"sonant asset links\n" + key.encode()).digest() for key in keys]

    def path(self, link: Link, files: str = "/v1/assets") -> str:
        """The path and query of a link to one of the files that stand below a path."""
        if not self._keys:
            message = "This installation makes no links, since SONANT_SECRET_KEYS is not set."
            raise Refused(503, message, "unconfigured", type="server_error")
        query = {"organization": link.org_id, "expires": str(link.expires)}
        if link.download:
            query["download"] = "true"
        query["signature"] = _signature(self._keys[0], link).decode()
        return f"{files}/{link.asset_id}/content?{urlencode(query)}"

    def check(self, link: Link, signature: str, now: float) -> None:
        """Raise Refused 401 unless we made this link and its time is not over."""
        # Every key is tried, and no comparison ends early: how long it takes tells nothing.
        given = signature.encode(errors="replace")
        genuine = [hmac.compare_digest(_signature(key, link), given) for key in self._keys]
        if not SIGNATURE.fullmatch(signature) or not any(genuine):
            raise Refused(401, "The signature of the link is wrong.", "invalid_signature")
        if now >= link.expires:
            raise Refused(401, "The link has expired.", "link_expired")


def _signature(key: bytes, link: Link) -> bytes:
    return hmac.new(key, link.signed, hashlib.sha256).hexdigest().encode()

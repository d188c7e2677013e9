"""Whether a webhook of the voice provider is genuine."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from common.failures import Refused

SIGNATURE_HEADER = "X-Hume-AI-Webhook-Signature"
TIMESTAMP_HEADER = "X-Hume-AI-Webhook-Timestamp"
# The provider's own tolerance. Both ways: a stamp from the future would otherwise stay good for as long as one likes.
WINDOW_SECONDS = 180.0
STAMP = re.compile(r"[0-9]{1,12}")
SIGNATURE = re.compile(r"[0-9a-f]{64}")


def sign(key: str, body: bytes, timestamp: str) -> str:
    """HMAC-SHA256 over the body, a dot and the timestamp, as lower-case hex."""
    return hmac.new(key.encode(), body + b"." + timestamp.encode(), hashlib.sha256).hexdigest()


def verify(keys: Sequence[str], body: bytes, headers: Mapping[str, str], now: float) -> None:
    """Raise Refused 401 unless one of the keys signed these bytes, within the window around `now` (unix seconds)."""
    stamp = headers.get(TIMESTAMP_HEADER, "")
    given = headers.get(SIGNATURE_HEADER, "")
    if not STAMP.fullmatch(stamp) or not SIGNATURE.fullmatch(given):
        raise _refused("The webhook is not signed.", "missing_signature")
    # Every key is tried, and no comparison ends early: how long it takes tells nothing.
    genuine = [hmac.compare_digest(sign(key, body, stamp), given) for key in keys]
    if not any(genuine):
        raise _refused("The signature of the webhook is wrong.", "invalid_signature")
    if abs(now - int(stamp)) > WINDOW_SECONDS:
        raise _refused(f"The webhook was signed more than {WINDOW_SECONDS:.0f} s from now.", "stale_signature")


def _refused(message: str, code: str) -> Refused:
    return Refused(401, message, code)

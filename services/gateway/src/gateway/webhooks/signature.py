"""Webhooks of the voice provider: whether one is genuine, what it is about, and whether it came before."""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis

from common.storage.redis import UNAVAILABLE
from gateway.http.errors import ApiError, bad_request, unavailable
from gateway.http.middleware import parse_json

log = structlog.get_logger(__name__)

SIGNATURE_HEADER = "X-Hume-AI-Webhook-Signature"
TIMESTAMP_HEADER = "X-Hume-AI-Webhook-Timestamp"
# The provider's own tolerance. Both ways: a stamp from the future would otherwise stay good for as long as one likes.
WINDOW_SECONDS = 180.0
STAMP = re.compile(r"[0-9]{1,12}")
SIGNATURE = re.compile(r"[0-9a-f]{64}")
# Of any other kind a chat may have several, so the chat says nothing about which one it is.
ONCE_PER_CHAT = frozenset({"chat_started", "chat_ended"})
KNOWN_EVENTS = ONCE_PER_CHAT | {"tool_call"}

PREFIX = "sonant:webhook:hume:"
# Far longer than a signature is good, so that a late delivery of the provider's is no second event either.
KEEP_SECONDS = 24 * 3600
# How long a gateway that died in the middle keeps others from taking the delivery over.
LEASE_SECONDS = 30
_UNDER_WAY, _DONE = b"under way", b"done"


def sign(key: str, body: bytes, timestamp: str) -> str:
    """HMAC-SHA256 over the body, a dot and the timestamp, as lower-case hex."""
    return hmac.new(key.encode(), body + b"." + timestamp.encode(), hashlib.sha256).hexdigest()


def verify(keys: Sequence[str], body: bytes, headers: Mapping[str, str], now: float) -> None:
    """Raise ApiError 401 unless one of the keys signed these bytes, within the window around `now` (unix seconds)."""
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


def _refused(message: str, code: str) -> ApiError:
    return ApiError(401, message, code=code)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine webhook, read loosely: the provider may send what we do not know yet."""

    event_name: str
    key: str
    body: dict[str, Any]

    @property
    def known(self) -> bool:
        return self.event_name in KNOWN_EVENTS


def read(raw: bytes) -> Delivery:
    """The delivery in a body; raises ApiError 400 where it is none."""
    body = parse_json(raw)
    name = body.get("event_name")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise bad_request("Missing 'event_name'.", "event_name", "missing_required_parameter")
    return Delivery(name, f"{name}:{_subject(name, body) or hashlib.sha256(raw).hexdigest()}", body)


def _subject(name: str, body: Mapping[str, Any]) -> str | None:
    """What repeated deliveries of one event have in common; None where the event does not say."""
    call = body.get("tool_call_message")
    subject = None
    if name in ONCE_PER_CHAT:
        subject = body.get("chat_id")
    elif name == "tool_call" and isinstance(call, dict):
        subject = call.get("tool_call_id")
    return subject if isinstance(subject, str) and subject else None


class Replays:
    """Which deliveries have been published."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def once(self, delivery: Delivery) -> AsyncIterator[bool]:
        """Hold a delivery: True where it is new; it counts as published when the body ends without an error.

        Raises ApiError 503 while another process has it in hand, or the store does not answer.
        """
        name = PREFIX + hashlib.sha256(delivery.key.encode()).hexdigest()
        try:
            held = await self._redis.set(name, _UNDER_WAY, nx=True, get=True, ex=LEASE_SECONDS)
        except UNAVAILABLE as error:
            raise unavailable("Whether this webhook came before cannot be told right now.") from error
        if held == _UNDER_WAY:
            raise unavailable("This webhook is being taken in already.")
        if held is not None:
            yield False
            return
        try:
            yield True
        except BaseException:
            await self._note("release", self._redis.delete(name))
            raise
        await self._note("keep", self._redis.set(name, _DONE, ex=KEEP_SECONDS))

    async def _note(self, what: str, change: Any) -> None:
        try:
            await change
        except UNAVAILABLE as error:
            # Published or not is decided; only a later delivery may be handled again, by the same event id.
            log.warning("webhook mark not changed", what=what, error=str(error))

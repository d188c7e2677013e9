"""`Idempotency-Key`: a repeated request gets the first one's answer instead of a second effect."""

import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import orjson
import structlog
from aiohttp import web
from redis.asyncio import Redis

from common.storage.redis import UNAVAILABLE
from gateway.http import errors
from gateway.metrics import IDEMPOTENCY_OUTCOMES
from gateway.ports import Caller

log = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "idempotency-replayed"
SANE_KEY = re.compile(r"[\x20-\x7e]{1,255}")
PREFIX = "sonant:idempotency:"
KEEP_SECONDS = 24 * 3600
# When a duplicate of a running request may look again.
BUSY_RETRY_SECONDS = 1.0
# Headers that tell about the answer and belong to it; those about limits or the connection do not.
KEPT_HEADERS = ("content-type", "etag", "x-sonant-")

# A record is one letter, the digest of the request, then its owner (running) or a JSON line and the body (done).
_RUNNING, _DONE = b"R", b"D"
_DIGEST_BYTES = 32
# Both act only for the owner: after a lapsed lease the key may be another's.
_STORE = """
local held = redis.call('GET', KEYS[1])
if held == false or held == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@dataclass(slots=True)
class Slot:
    """What a guarded request holds: the answer to replay, or the right to store its own."""

    replay: web.Response | None = None
    _redis: "Redis | None" = None
    _name: str = ""
    _mark: bytes = b""

    async def store(self, response: web.StreamResponse) -> None:
        """Keep the answer for a day. A 429 or 5xx is not kept: the same request may then be tried again."""
        if self._redis is None or response.status == 429 or response.status >= 500:
            return
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            raise TypeError("only an answer with its whole body in memory can be kept")
        headers = {
            str(name): value for name, value in response.headers.items() if name.lower().startswith(KEPT_HEADERS)
        }
        head = orjson.dumps({"status": response.status, "headers": headers})
        record = _DONE + self._mark[1 : 1 + _DIGEST_BYTES] + head + b"\n" + response.body
        try:
            await self._redis.eval(_STORE, 1, self._name, self._mark, record, KEEP_SECONDS)
        except UNAVAILABLE as error:
            # The effect has happened and the caller gets its answer; only a later duplicate would run again.
            log.warning("idempotent answer not kept", error=str(error))

    async def release(self) -> None:
        """Give the key up unless an answer was stored."""
        if self._redis is None:
            return
        try:
            await self._redis.eval(_RELEASE, 1, self._name, self._mark)
        except UNAVAILABLE as error:
            log.warning("idempotency key not released", error=str(error))


class Idempotency:
    """Guards requests that change something, answer in one piece and carry the header."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def guard(self, request: web.Request, caller: Caller, body: bytes, *, lease: float) -> AsyncIterator[Slot]:
        """Hold the request's idempotency key, or find the answer to replay.

        `body` is what must be equal in a repetition; `lease` (seconds) bounds how long a gateway that died keeps
        the key. Without the header nothing is held. Raises ApiError: 400 for a bad key, 409 while the first is
        running, 422 when the key was used with another body, 503 while the store does not answer.

            async with idempotency.guard(request, caller, body, lease=30) as slot:
                if slot.replay is not None:
                    return slot.replay
                response = await act()
                await slot.store(response)
                return response
        """
        given = request.headers.get(HEADER)
        if given is None:
            yield Slot()
            return
        if not SANE_KEY.fullmatch(given):
            raise errors.bad_request(f"Invalid '{HEADER}': 1 to 255 printable ASCII characters.", HEADER)
        name = _name(caller, request.method, request.path, given)
        slot = await self._take(name, hashlib.sha256(body).digest(), lease)
        try:
            yield slot
        finally:
            await slot.release()

    async def _take(self, name: str, digest: bytes, lease: float) -> Slot:
        mark = _RUNNING + digest + secrets.token_bytes(16)
        try:
            # SET with NX and GET answers with what is there, or nothing where the key is now ours.
            kept = await self._redis.set(name, mark, nx=True, get=True, px=max(1, round(lease * 1000)))
        except UNAVAILABLE as error:
            raise errors.unavailable("Idempotency cannot be guaranteed right now.") from error
        if kept is None:
            IDEMPOTENCY_OUTCOMES.labels("first").inc()
            return Slot(None, self._redis, name, mark)
        return Slot(_answer(cast("bytes", kept), digest))


def _answer(kept: bytes, digest: bytes) -> web.Response:
    """The stored answer; raises ApiError 422 for another body, 409 while there is no answer yet."""
    if kept[1 : 1 + _DIGEST_BYTES] != digest:
        IDEMPOTENCY_OUTCOMES.labels("reused").inc()
        raise errors.unprocessable(
            f"This {HEADER} was used with a different request.", "idempotency_key_reused", HEADER
        )
    if kept[:1] == _RUNNING:
        IDEMPOTENCY_OUTCOMES.labels("busy").inc()
        raise errors.conflict(
            f"A request with this {HEADER} is in progress.", "idempotency_key_in_use", retry=BUSY_RETRY_SECONDS
        )
    IDEMPOTENCY_OUTCOMES.labels("replayed").inc()
    head, _, body = kept[1 + _DIGEST_BYTES :].partition(b"\n")
    told: Mapping[str, dict[str, str]] = orjson.loads(head)
    headers = {**told["headers"], REPLAYED: "true"}
    return web.Response(status=cast("int", told["status"]), body=body, headers=headers)


def _name(caller: Caller, method: str, path: str, key: str) -> str:
    """Hashed: the parts may hold any character, and together be long."""
    parts = orjson.dumps([caller.org_id, caller.key_id, method, path, key])
    return PREFIX + hashlib.sha256(parts).hexdigest()

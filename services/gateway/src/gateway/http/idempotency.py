"""`Idempotency-Key`: a repeated request gets the first one's answer instead of a second effect."""

import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import structlog
from aiohttp import web

from common.failures import Refused, StoreUnavailableError
from gateway.http import errors
from gateway.metrics import IDEMPOTENCY_DROPPED, IDEMPOTENCY_OUTCOMES
from gateway.ports import Caller, IdempotencyStore

log = structlog.get_logger(__name__)

IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLAYED = "idempotency-replayed"
SANE_KEY = re.compile(r"[\x20-\x7e]{1,255}")
KEEP_SECONDS = 24 * 3600
# When a duplicate of a running request may try again.
BUSY_RETRY_SECONDS = 1.0
# Headers that belong to the answer; those about limits or the connection do not.
KEPT_HEADERS = ("content-type", "etag", "x-sonant-")

# A record is one letter, the digest of the request, then its owner (running) or a JSON line and the body (done).
_RUNNING, _DONE = b"R", b"D"
_DIGEST_BYTES = 32


def idempotency_key(request: web.Request) -> str | None:
    """The key of a request, if it has one; raises Refused (400) for what cannot be one."""
    given = request.headers.get(IDEMPOTENCY_HEADER)
    if given is not None and not SANE_KEY.fullmatch(given):
        message = f"Invalid '{IDEMPOTENCY_HEADER}': 1 to 255 printable ASCII characters."
        raise errors.bad_request(message, IDEMPOTENCY_HEADER)
    return given


@dataclass(slots=True)
class Slot:
    """What a guarded request holds: the answer to replay, or the right to store its own."""

    replay: web.Response | None = None
    _store: IdempotencyStore | None = None
    _name: str = ""
    _owner: str = ""
    _mark: bytes = b""

    async def store(self, response: web.StreamResponse) -> None:
        """Keep the answer for a day, or until newer ones of its API key have filled the quota.

        A 429 or 5xx is not kept: the same request may then be tried again.
        """
        if self._store is None or response.status == 429 or response.status >= 500:
            return
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            raise TypeError("only an answer with its whole body in memory can be kept")
        headers = {
            str(name): value for name, value in response.headers.items() if name.lower().startswith(KEPT_HEADERS)
        }
        head = orjson.dumps({"status": response.status, "headers": headers})
        record = _DONE + self._mark[1 : 1 + _DIGEST_BYTES] + head + b"\n" + response.body
        try:
            IDEMPOTENCY_DROPPED.inc(await self._store.keep(self._name, self._owner, self._mark, record, KEEP_SECONDS))
        except StoreUnavailableError as error:
            # The effect has happened and the caller gets its answer; only a later duplicate would run again.
            log.warning("idempotent answer not kept", error=str(error))

    async def release(self) -> None:
        """Give the key up unless an answer was stored."""
        if self._store is None:
            return
        try:
            await self._store.release(self._name, self._mark)
        except StoreUnavailableError as error:
            log.warning("idempotency key not released", error=str(error))


class Idempotency:
    """Guards requests that change something, answer in one piece and carry the header."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store

    @asynccontextmanager
    async def guard(
        self, request: web.Request, caller: Caller, body: bytes, *, lease: float, reused: int = 422
    ) -> AsyncIterator[Slot]:
        """Hold the request's idempotency key, or find the answer to replay.

        `body` is what must be equal in a repetition; `lease` (seconds) bounds how long a gateway that died keeps
        the key. Without the header nothing is held. Raises Refused: 400 for a bad key, 409 while the first is
        running, `reused` when the key was used with another body, 503 while the store does not answer.

            async with idempotency.guard(request, caller, body, lease=30) as slot:
                if slot.replay is not None:
                    return slot.replay
                response = await act()
                await slot.store(response)
                return response
        """
        given = idempotency_key(request)
        if given is None:
            yield Slot()
            return
        name = _name(caller, request.method, request.path, given)
        slot = await self._take(
            name, f"{caller.org_id}/{caller.key_id}", hashlib.sha256(body).digest(), lease=lease, reused=reused
        )
        try:
            yield slot
        finally:
            await slot.release()

    async def _take(self, name: str, owner: str, digest: bytes, *, lease: float, reused: int) -> Slot:
        mark = _RUNNING + digest + secrets.token_bytes(16)
        try:
            found = await self._store.take(name, mark, lease)
        except StoreUnavailableError as error:
            raise errors.unavailable("Idempotency cannot be guaranteed right now.") from error
        if found is None:
            IDEMPOTENCY_OUTCOMES.labels("first").inc()
            return Slot(None, self._store, name, owner, mark)
        return Slot(_first_answer(found, digest, reused))


def _first_answer(found: bytes, digest: bytes, reused: int) -> web.Response:
    """The stored answer; raises Refused `reused` for another body, 409 while there is no answer yet."""
    if found[1 : 1 + _DIGEST_BYTES] != digest:
        IDEMPOTENCY_OUTCOMES.labels("reused").inc()
        message = f"This {IDEMPOTENCY_HEADER} was used with a different request."
        raise Refused(reused, message, "idempotency_key_reused", IDEMPOTENCY_HEADER)
    if found[:1] == _RUNNING:
        IDEMPOTENCY_OUTCOMES.labels("busy").inc()
        raise errors.conflict(
            f"A request with this {IDEMPOTENCY_HEADER} is in progress.",
            "idempotency_key_in_use",
            retry=BUSY_RETRY_SECONDS,
        )
    IDEMPOTENCY_OUTCOMES.labels("replayed").inc()
    head, _, body = found[1 + _DIGEST_BYTES :].partition(b"\n")
    first = orjson.loads(head)
    return web.Response(status=first["status"], body=body, headers={**first["headers"], REPLAYED: "true"})


def request_name(request: web.Request, caller: Caller) -> bytes | None:
    """What is the same for all repetitions of a request, 32 bytes; None where it carries no key."""
    given = request.headers.get(IDEMPOTENCY_HEADER)
    return None if given is None else bytes.fromhex(_name(caller, request.method, request.path, given))


def _name(caller: Caller, method: str, path: str, key: str) -> str:
    """Hashed: the parts may hold any character, and together be long."""
    parts = orjson.dumps([caller.org_id, caller.key_id, method, path, key])
    return hashlib.sha256(parts).hexdigest()

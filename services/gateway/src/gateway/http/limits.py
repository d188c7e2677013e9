"""Limits of a key: who is admitted, what a refusal says, and what is settled at the end of an answer."""

import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import structlog

from common.failures import Refused, StoreUnavailableError
from gateway.http import errors
from gateway.metrics import LIMITS_REFUSED, LIMITS_UNAVAILABLE
from gateway.ports import SLOT_RETRY_MS, Admission, Bucket, Caller, KeyLimits, LimitStore, SlotState

log = structlog.get_logger(__name__)

T = TypeVar("T")

MINUTE_MS = 60_000
# A refusal of a key is repeated for so long without asking the store: other gateways may give a request back meanwhile.
REFUSAL_SECONDS = 1.0
# Keys whose refusals are noted before those are forgotten that no longer hold.
REMEMBERED = 1000


class Reservation(NamedTuple):
    """What was reserved for a request: tokens, and the `x-ratelimit-*` headers of its answer."""

    tokens: int
    headers: dict[str, str]


class Limits:
    """Admits requests of limited keys and settles them. A key without limits costs nothing."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        # By key: what was refused, and how long that holds without asking again (monotonic seconds).
        self._spent: dict[str, tuple[float, Bucket]] = {}
        self._tidy_at = REMEMBERED

    async def count(self, caller: Caller) -> None:
        """Take one request before its body is read, so that a key past its limit costs nothing but a look.

        Raises Refused: 429 when the limit is reached, 503 while the store does not answer.
        """
        limits = caller.limits
        if limits.requests_per_minute is None:
            return
        requests = self._known_spent(caller)
        if requests is None:
            requests = await _decided(self._store.count(caller))
        if requests.wait:
            self._note_spent(caller, requests)
            headers = _bucket_headers("requests", limits.requests_per_minute, requests)
            raise _refusal(limits, Admission(requests, Bucket(0, 0, 0), 0), headers)

    def _known_spent(self, caller: Caller) -> Bucket | None:
        """A refusal that still holds, with the times that are left of it."""
        if not self._spent or (known := self._spent.get(caller.key_id)) is None:
            return None
        until, bucket = known
        passed = round((time.monotonic() - until + REFUSAL_SECONDS) * 1000)
        if passed >= min(bucket.wait, REFUSAL_SECONDS * 1000):
            del self._spent[caller.key_id]
            return None
        return replace(bucket, wait=bucket.wait - passed, reset=max(0, bucket.reset - passed))

    def _note_spent(self, caller: Caller, requests: Bucket) -> None:
        if caller.key_id in self._spent:
            return
        now = time.monotonic()
        if len(self._spent) >= self._tidy_at:
            self._spent = {key: known for key, known in self._spent.items() if known[0] > now}
            self._tidy_at = max(REMEMBERED, 2 * len(self._spent))
        self._spent[caller.key_id] = (now + REFUSAL_SECONDS, requests)

    async def admit(
        self,
        caller: Caller,
        request_id: str,
        tokens: int,
        ttl: float,
        *,
        most: int | None = None,
        counted: bool = False,
    ) -> Reservation:
        """Reserve one request, `tokens` and a slot for at most `ttl` seconds.

        Where there are more, up to `most` tokens are reserved, and up to a quarter of what is left, so that others find
        some. One that is `counted` has its request, and gives it back where tokens or slots are refused.

        Raises Refused and reserves nothing: 429 when a limit is reached, 400 when `tokens` can never fit, 503
        while the store does not answer.
        """
        limits = caller.limits
        if not limits.any:
            return Reservation(tokens, {})
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise _too_many_tokens(tokens, limits.tokens_per_minute)
        admission = await _decided(self._store.admit(caller, request_id, tokens, most or tokens, ttl, counted=counted))
        headers = _headers(limits, admission)
        if not admission.granted:
            # What was counted is given back.
            self._spent.pop(caller.key_id, None)
            raise _refusal(limits, admission, headers)
        return Reservation(admission.taken, headers)

    async def resume(self, caller: Caller, request_id: str, ttl: float) -> bool:
        """Whether an answer that is resumed got a slot, to be settled, for at most `ttl` seconds: it may have one yet.

        Raises Refused: 429 when there is none free, 503 while the store does not answer.
        """
        limit = caller.limits.concurrent_streams
        if limit is None:
            return False
        # The slot of a caller who leaves while this is decided ends by itself, like that of a gateway that died.
        slot = await _decided(self._store.resume(caller, request_id, ttl))
        if slot is SlotState.FULL:
            raise _refuse("streams", _no_slot(limit), SLOT_RETRY_MS, {})
        return slot is SlotState.TAKEN

    async def settle(self, caller: Caller, request_id: str, reserved: int, used: int) -> None:
        """Free the slot and correct the tokens from `reserved` to `used`; to be called once per admission.

        While the store is away nothing is corrected: the slot ends by itself, the bucket fills by itself.
        """
        if not caller.limits.any:
            return
        try:
            await self._store.settle(caller, request_id, used - reserved)
        except StoreUnavailableError as error:
            LIMITS_UNAVAILABLE.inc()
            log.warning("limits not settled", error=str(error))


async def _decided(decision: Coroutine[Any, Any, T]) -> T:
    try:
        return await decision
    except StoreUnavailableError as error:
        LIMITS_UNAVAILABLE.inc()
        raise errors.unavailable("The limits of this API key cannot be checked right now.") from error


def _headers(limits: KeyLimits, admission: Admission) -> dict[str, str]:
    return {
        **_bucket_headers("requests", limits.requests_per_minute, admission.requests),
        **_bucket_headers("tokens", limits.tokens_per_minute, admission.tokens),
    }


def _bucket_headers(name: str, limit: int | None, bucket: Bucket) -> dict[str, str]:
    if limit is None:
        return {}
    return {
        f"x-ratelimit-limit-{name}": str(limit),
        f"x-ratelimit-remaining-{name}": str(bucket.remaining),
        f"x-ratelimit-reset-{name}": duration(bucket.reset),
    }


def _too_many_tokens(tokens: int, limit: int) -> Refused:
    LIMITS_REFUSED.labels("tokens").inc()
    message = (
        f"This request needs about {tokens} tokens, more than the {limit} tokens per minute of this API key: "
        "it can never be admitted. Shorten it or ask for a shorter answer."
    )
    return errors.bad_request(message, code="tokens_exceed_limit")


def _refusal(limits: KeyLimits, admission: Admission, headers: dict[str, str]) -> Refused:
    """429 for the limit that takes longest to let the request through."""
    name, limit, wait = "requests", limits.requests_per_minute, admission.requests.wait
    if admission.tokens.wait > wait:
        name, limit, wait = "tokens", limits.tokens_per_minute, admission.tokens.wait
    if wait >= admission.slot_wait:
        return _refuse(name, f"{limit} {name} per minute", wait, headers)
    return _refuse("streams", _no_slot(limits.concurrent_streams), admission.slot_wait, headers)


def _no_slot(streams: int | None) -> str:
    return f"{streams} answers at the same time"


def _refuse(name: str, text: str, wait: int, headers: dict[str, str]) -> Refused:
    LIMITS_REFUSED.labels(name).inc()
    message = f"Rate limit of this API key reached: {text}. Try again in {duration(wait)}."
    kind = "tokens" if name == "tokens" else "requests"
    return errors.rate_limited(message, type=kind, retry=wait / 1000, headers=headers)


def duration(milliseconds: int) -> str:
    """A time as OpenAI writes it in its headers: `12ms`, `1.5s`, `6m0s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, MINUTE_MS)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds

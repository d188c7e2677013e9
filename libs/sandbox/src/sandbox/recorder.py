"""What reached the stand-ins and how it ended: the facts that tests assert at the upstream."""

import secrets
import time
from collections import deque
from typing import Any, Literal

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

RING_SIZE = 1_000
# Long enough for a full conversation with documents; 1,000 of them stay below 64 MiB.
BODY_CAP_BYTES = 65_536
# Model names come from callers, so their number is bounded.
MAX_MODELS = 1_000
OTHER_MODELS = "(other)"
SECRET_HEADERS = {"authorization", "api-key", "x-api-key", "x-hume-api-key", "cookie"}

End = Literal["completed", "client_closed", "fault", "rejected"]


class Counters:
    """Running totals, for all calls or for one model."""

    __slots__ = ("client_disconnects", "completed", "faults", "open_streams", "rejected", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.open_streams = 0
        self.client_disconnects = 0
        self.completed = 0
        self.faults = 0
        self.rejected = 0

    def count_end(self, end: End) -> None:
        """Count one ended call."""
        if end == "completed":
            self.completed += 1
        elif end == "client_closed":
            self.client_disconnects += 1
        elif end == "fault":
            self.faults += 1
        else:
            self.rejected += 1

    def as_dict(self) -> dict[str, int]:
        """Return the totals by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Exchange:
    """One call: its request and how it ended. Times are unix seconds."""

    __slots__ = (
        "_counters",
        "at",
        "body",
        "chunks_sent",
        "closed_at",
        "end",
        "ended_at",
        "headers",
        "id",
        "method",
        "model",
        "path",
        "status",
        "stream",
    )

    def __init__(
        self, call_id: str, path: str, headers: CIMultiDictProxy[str], body: bytes, method: str = "POST"
    ) -> None:
        self.id = call_id
        self.at = time.time()
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.model = ""
        self.stream = False
        self.status: int | None = None
        self.chunks_sent = 0
        self.end: End | None = None
        self.ended_at: float | None = None
        self.closed_at: float | None = None
        self._counters: tuple[Counters, ...] = ()

    def began(self, counters: tuple[Counters, ...]) -> None:
        """Count the call in from here on."""
        self._counters = counters
        for each in counters:
            each.requests += 1
            each.open_streams += self.stream

    def finish(self, end: End) -> None:
        """Note how the call ended; the first note counts."""
        if self.end is not None:
            return
        self.end = end
        self.ended_at = time.time()
        self.closed_at = self.ended_at if end == "client_closed" else None
        for each in self._counters:
            each.open_streams -= self.stream
            each.count_end(end)

    def as_dict(self) -> dict[str, Any]:
        """Return the call as JSON, without secret headers and with a long body cut."""
        return {
            "id": self.id,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "stream": self.stream,
            "status": self.status,
            "body": _capped(self.body),
            "headers": {k.lower(): v for k, v in self.headers.items() if k.lower() not in SECRET_HEADERS},
            "chunks_sent": self.chunks_sent,
            "end": self.end,
            "ended_at": self.ended_at,
            "closed_at": self.closed_at,
        }


class Recorder:
    """Totals since the last reset and, where a key was given to read them by, the last calls in a bounded ring.

    A sandbox that answers people keeps nothing of what they say.
    """

    def __init__(self, key: str = "") -> None:
        self._key = key
        self.reset()

    @property
    def keeps(self) -> bool:
        """Whether calls are kept at all."""
        return bool(self._key)

    def may_read(self, key: str) -> bool:
        """Whether whoever shows `key` may read the calls."""
        return self.keeps and secrets.compare_digest(key.encode(), self._key.encode())

    def reset(self) -> None:
        """Forget all calls and totals; calls still open go on uncounted."""
        self._ring: deque[Exchange] = deque(maxlen=RING_SIZE)
        self._total = Counters()
        self._by_model: dict[str, Counters] = {}

    def begin(self, exchange: Exchange, *, model: str, stream: bool) -> None:
        """Record a call that has just been read."""
        exchange.model = model
        exchange.stream = stream
        exchange.began((self._total, self._counters_of(model)))
        if self.keeps:
            self._ring.append(exchange)

    def stats(self) -> dict[str, Any]:
        """Return the totals, overall and by model."""
        by_model = {name: counters.as_dict() for name, counters in self._by_model.items()}
        return {**self._total.as_dict(), "by_model": by_model}

    def last(self, limit: int, model: str | None) -> list[dict[str, Any]]:
        """Return the last `limit` calls (of one model, when given) in order of arrival."""
        chosen = [each for each in self._ring if model is None or each.model == model]
        return [each.as_dict() for each in chosen[-limit:]] if limit > 0 else []

    def _counters_of(self, model: str) -> Counters:
        known = model in self._by_model or len(self._by_model) < MAX_MODELS
        return self._by_model.setdefault(model if known else OTHER_MODELS, Counters())


RECORDER = web.AppKey("recorder", Recorder)


def _capped(body: bytes) -> Any:
    """Return the parsed body, or its size and beginning when it is too long or not JSON."""
    if len(body) <= BODY_CAP_BYTES:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return {"bytes": len(body), "beginning": body[:BODY_CAP_BYTES].decode("utf-8", "replace")}

"""Batches to `POST /v2/interactions:batch` of a Sonant, gzipped, with a verdict for each item."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Mapping
from typing import Any

from huggingplace.errors import (
    AuthenticationError,
    DeliveryError,
    NetworkTimeoutError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    RefusedError,
    ServerError,
)
from huggingplace.retry_delay import retry_after
from huggingplace.transports.http_connection import Answer, HttpConnection
from huggingplace.transports.transport import Batch, Transport, Verdicts

PATH = "/v2/interactions:batch"
# Smaller bodies gain nothing from it.
GZIP_FROM_BYTES = 1024
# Texts shrink to a third; higher levels take twice the time for a tenth less.
GZIP_LEVEL = 1
# Item statuses that may pass; every other one from 400 is final.
_PASSING = (408, 425, 429)


class HttpTransport(Transport):
    """The transport that is used where you name none."""

    name = "http"

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: float = 10.0,
        compress: bool = True,
        user_agent: str = "huggingplace-python",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connection = HttpConnection(base_url, timeout=timeout, tls=tls)
        self._compress = compress
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "User-Agent": user_agent,
        }

    def send(self, batch: Batch) -> Verdicts | None:
        """As `Transport.send`. A batch that is refused as a whole is halved until the culprit stands alone."""
        answer = self._post(batch)
        if 200 <= answer.status < 300:
            return _verdicts(answer, batch)
        failure = _failure(answer, batch)
        if not isinstance(failure, RefusedError):
            raise failure
        if len(batch) == 1:
            return [failure]
        half = len(batch) // 2
        parts = (Batch(batch.bodies[:half]), Batch(batch.bodies[half:]))
        return [verdict for part in parts for verdict in self._part(part)]

    def close(self) -> None:
        self._connection.close()

    def forget(self) -> None:
        self._connection.forget()

    def _part(self, batch: Batch) -> Verdicts:
        try:
            return self.send(batch) or [None] * len(batch)
        except DeliveryError as failure:
            # The other half may be through already.
            return [failure] * len(batch)

    def _post(self, batch: Batch) -> Answer:
        body = b'{"items":[' + b",".join(batch.bodies) + b"]}"
        headers = dict(self._headers)
        if self._compress and len(body) >= GZIP_FROM_BYTES:
            body = gzip.compress(body, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return self._connection.post(PATH, body, headers)


def _failure(answer: Answer, batch: Batch) -> DeliveryError:
    """What a refused request means. Statuses that say that the address is wrong may pass: nothing is lost by a typo."""
    status = answer.status
    told = f"{status} {_message(answer.body)}".rstrip()
    if status == 401:
        return AuthenticationError(told, status=status)
    if status == 403:
        return PermissionDeniedError(told, status=status)
    if status == 408:
        return NetworkTimeoutError(told, status=status)
    rest = retry_after(answer.headers.get("retry-after"))
    if status == 429:
        return RateLimitError(told, status=status, retry_after=rest)
    if status == 413:
        return PayloadTooLargeError(told, status=status, ids=batch.ids)
    if status in (400, 422):
        return RefusedError(told, status=status, ids=batch.ids)
    return ServerError(told, status=status, retry_after=rest)


def _verdicts(answer: Answer, batch: Batch) -> Verdicts | None:
    """What became of each. An answer that does not say so for every one was not given by a Sonant: it is sent again."""
    try:
        results = json.loads(answer.body)["results"]
        statuses = [int(result["status"]) for result in results]
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{answer.status}, and no results: is this the right address?", status=answer.status
        ) from error
    if len(statuses) != len(batch):
        raise ServerError(f"{len(statuses)} results for {len(batch)} items", status=answer.status)
    if all(200 <= status < 300 for status in statuses):
        return None
    return _each(results, statuses, batch)


def _each(results: list[Mapping[str, Any]], statuses: list[int], batch: Batch) -> Verdicts:
    verdicts: list[DeliveryError | None] = []
    for result, status, item_id in zip(results, statuses, batch.ids):
        error = result.get("error") or {}
        told, ids = f"{status} {error.get('message') or ''}".rstrip(), (item_id,)
        if 200 <= status < 300:
            verdicts.append(None)
        elif status in _PASSING or status >= 500:
            verdicts.append(ServerError(told, status=status, ids=ids))
        else:
            kind = PayloadTooLargeError if status == 413 else RefusedError
            verdicts.append(kind(told, status=status, ids=ids, code=error.get("code")))
    return verdicts


def _message(body: bytes) -> str:
    """What the server says about it, shortly."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return ""

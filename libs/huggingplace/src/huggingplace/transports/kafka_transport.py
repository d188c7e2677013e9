"""Interactions as records on a topic of yours, by the package `confluent-kafka`."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import Any

from huggingplace.errors import (
    ConfigurationError,
    DeliveryError,
    NetworkError,
    NetworkTimeoutError,
    PayloadTooLargeError,
)
from huggingplace.transports.transport import Batch, Transport, Verdicts

# Producers of a parent process. To destroy one in a fork waits for threads that are not there.
_of_parents: list[Any] = []


class KafkaTransport(Transport):
    """One record for each item: the key is its session (else its trace, else its id), the value its JSON.

    `config` goes to the producer as it is, for logins and TLS. An item counts as delivered when all replicas in sync
    have it.

    Raises ConfigurationError: the package is missing, or a setting is none of its.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        timeout: float = 10.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"kafka:{bootstrap_servers}/{topic}"
        self._topic = topic
        self._timeout = timeout
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "gzip",
            "linger.ms": 5,
            "message.timeout.ms": int(timeout * 1000),
            # Its own limit counts what is around the value too.
            "message.max.bytes": 4 * 1024 * 1024,
            **(config or {}),
        }
        self._lock = threading.Lock()
        self._producer: Any = None
        try:
            self._kafka = importlib.import_module("confluent_kafka")
        except ImportError as error:
            raise ConfigurationError(
                'KafkaTransport needs confluent-kafka: pip install "huggingplace[kafka]".'
            ) from error
        self._open()

    def send(self, batch: Batch) -> Verdicts | None:
        """As `Transport.send`."""
        with self._lock:
            producer = self._open()
        outcomes: list[Any] = [_PENDING] * len(batch)
        for number, (body, item) in enumerate(zip(batch.bodies, batch.items)):
            key = item.get("session_id") or item.get("trace_id") or item["id"]
            headers = {"id": item["id"], "kind": item.get("kind", "interaction")}
            try:
                producer.produce(self._topic, body, key=key, headers=headers, on_delivery=_noting(outcomes, number))
            except BufferError:
                break  # it holds as much as it may; what is behind is sent with the next batch
            except self._kafka.KafkaException as error:
                outcomes[number] = error.args[0]
        producer.flush(self._timeout)
        if all(outcome is None for outcome in outcomes):
            return None
        return [self._verdict(outcome, item["id"]) for outcome, item in zip(outcomes, batch.items)]

    def close(self) -> None:
        with self._lock:
            self._producer = None

    def forget(self) -> None:
        self._lock = threading.Lock()
        _of_parents.append(self._producer)
        self._producer = None

    def _open(self) -> Any:
        if self._producer is None:
            try:
                self._producer = self._kafka.Producer(self._config)
            except (self._kafka.KafkaException, TypeError, ValueError) as error:
                raise ConfigurationError(f"Kafka's producer cannot be made: {error}") from error
        return self._producer

    def _verdict(self, outcome: Any, item_id: str) -> DeliveryError | None:
        if outcome is None:
            return None
        if outcome is _PENDING:
            return NetworkTimeoutError("Kafka has not acknowledged it in time.", ids=(item_id,))
        codes = self._kafka.KafkaError
        if outcome.code() == codes.MSG_SIZE_TOO_LARGE:
            return PayloadTooLargeError(str(outcome), ids=(item_id,), code=outcome.name())
        kind = NetworkTimeoutError if outcome.code() == codes._MSG_TIMED_OUT else NetworkError  # noqa: SLF001
        return kind(str(outcome), ids=(item_id,))


_PENDING = object()


def _noting(outcomes: list[Any], number: int) -> Any:
    def note(error: Any, _record: Any) -> None:
        outcomes[number] = error

    return note

"""What the Kafka client has no public call for: leaving a group for good, and hanging up when it is half dead."""
# ruff: noqa: SLF001 - each reach behind the client's surface is kept in this one file

import asyncio
import ssl
from collections.abc import Coroutine
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    ProducerClosed,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from common.bus.kafka_access import KafkaAccess, TokenError

# What "the broker does not answer" looks like through the client.
FAILURES = (KafkaError, OSError, TimeoutError)
# Any answer from the broker that is worth waiting for.
ANSWER_SECONDS = 3.0
# How a broker says that it does not let us in, or we that we do not trust it.
_REFUSALS = (
    AuthenticationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    TokenError,
    UnsupportedSaslMechanismError,
    ssl.SSLError,
)


async def refusal(access: KafkaAccess) -> str:
    """Why a broker does not let us in, in one line; empty where none says so.

    The client tells only its log, so that we knock ourselves.
    """
    for host, port, _ in collect_hosts(access.servers):
        try:
            patience = int(ANSWER_SECONDS * 1000)
            connection = await create_conn(host, port, request_timeout_ms=patience, **access.security)
        except _REFUSALS as error:
            return f"{host}:{port}: {_told(error)}"
        except FAILURES:
            continue
        connection.close()
    return ""


def _told(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS comes about: {error.reason or error}"
    if isinstance(error, IllegalSaslStateError):
        return "nobody logs in on this port"
    if isinstance(error, UnsupportedSaslMechanismError):
        return "it does not speak this sasl_mechanism"
    # By itself the text begins with the number and the class of the error.
    return str(error.args[0] if error.args else error)


def is_nobody(admin: AIOKafkaAdminClient) -> bool:
    """Whether the broker tells nothing: the client takes a token that was refused for a login (RFC 7628, 3.2.2)."""
    return not admin._client.cluster.brokers()


async def abandon(producer: AIOKafkaProducer) -> None:
    """Hang up without delivering what is queued: those who published it were told that it failed."""
    await producer._sender.close()
    accumulator = producer._message_accumulator
    queued = list(chain.from_iterable(accumulator._batches.values()))
    accumulator._pending_batches.update(queued)  # the client takes each out of there again, and fails if it cannot
    accumulator.fail_all(ProducerClosed())
    for batch in queued:
        batch._drain_waiter.exception()  # retrieved, or each would be reported as never retrieved
    await producer.stop()


async def leave_group(consumer: AIOKafkaConsumer) -> None:
    """Stop, and tell the group; by itself the client keeps a static member's partitions until its session ends."""
    if consumer._coordinator is not None:
        consumer._coordinator._group_instance_id = None
    await stop(consumer)


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Stop within a bounded time, remaining a static member of the group."""
    if not await _ended_well(consumer.stop()):
        await _tear_down(consumer)


async def _tear_down(consumer: AIOKafkaConsumer) -> None:
    """What `stop` leaves behind when the coordinator has died or hangs, or the broker is away."""
    if consumer._coordinator is not None:
        await _ended_well(consumer._coordinator._stop_heartbeat_task())
        await _ended_well(consumer._coordinator._stop_commit_offsets_refresh_task())
    if consumer._fetcher is not None:
        await _ended_well(consumer._fetcher.close())
    await _ended_well(consumer._client.close())


async def _ended_well(work: Coroutine[Any, Any, None]) -> bool:
    """Run a step of closing down in a task of its own: some let the cancellation of their parts escape."""
    task = asyncio.create_task(work)
    _, late = await asyncio.wait([task], timeout=ANSWER_SECONDS)
    if late:
        task.cancel()
        await asyncio.wait(late)
    return not task.cancelled() and task.exception() is None

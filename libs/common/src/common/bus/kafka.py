"""The log on Apache Kafka: the port itself; its parts are in the modules named `kafka_…` beside it."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from common.bus import kafka_topics
from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_producer import KafkaPublisher
from common.bus.kafka_subscription import KafkaSubscription
from common.bus.port import Revoked, Subscription, TopicStatus
from common.events.record import Received, Record
from common.events.spec import Topic

# How long a crashed member keeps its partitions; one that restarts under its name has them back at once.
SESSION_SECONDS = 10.0
# Past the drain of a revoked partition, so that a member that drains to the end is not thrown out for it.
REBALANCE_MARGIN_SECONDS = 20.0


class KafkaLog:
    """The port `common.bus.port.Log` on Kafka."""

    def __init__(
        self,
        access: KafkaAccess,
        *,
        replication: int = 1,
        session_seconds: float = SESSION_SECONDS,
        drain_seconds: float = 10.0,
    ) -> None:
        self._access = access
        self._replication = replication
        self._session_seconds = session_seconds
        self._rebalance_seconds = drain_seconds + REBALANCE_MARGIN_SECONDS
        self._publisher = KafkaPublisher(access)

    async def publish(self, *records: Record) -> None:
        await self._publisher.publish(records)

    @asynccontextmanager
    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: str, revoked: Revoked
    ) -> AsyncIterator[Subscription]:
        """Join on the first poll, so that a broker that is away shows there and nowhere else."""
        subscription = KafkaSubscription(
            self._access,
            [topic.name for topic in topics],
            group,
            instance,
            revoked,
            session_seconds=self._session_seconds,
            rebalance_seconds=self._rebalance_seconds,
        )
        try:
            yield subscription
        finally:
            await subscription.leave()

    async def ensure(self, topics: Sequence[Topic]) -> None:
        await kafka_topics.ensure(self._access, topics, self._replication)

    async def ping(self) -> None:
        await kafka_topics.ping(self._access)

    async def status(self, topics: Sequence[Topic]) -> Sequence[TopicStatus]:
        return await kafka_topics.status(self._access, topics)

    async def read(self, topic: Topic, *, limit: int, after: Mapping[int, str] | None = None) -> Sequence[Received]:
        return await kafka_topics.read(self._access, topic, limit, after or {})

    async def close(self) -> None:
        """Finish the appends in flight, as long as the broker answers, then disconnect."""
        await self._publisher.close()


@asynccontextmanager
async def open_kafka(url: str, *, replication: int = 1, drain_seconds: float = 10.0) -> AsyncIterator[KafkaLog]:
    """The log at `url` (see `kafka_url`); nothing is dialled before it is used. Raises as `KafkaAccess.of`."""
    # Through an outage the client writes ten errors a second; what matters of them, ours carry.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    log = KafkaLog(KafkaAccess.of(url), replication=replication, drain_seconds=drain_seconds)
    try:
        yield log
    finally:
        await log.close()

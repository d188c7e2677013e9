"""A consumer in a process of its own, for tests that kill it: `python -m tests.contract.bus_member JSON`.

It runs the kernel's consumer on one topic and appends `key number` to a file for every record it finishes.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from common.bus.connect import open_log
from common.bus.kafka import KafkaLog
from common.bus.kafka_access import KafkaAccess
from common.bus.live.writer import open_writer
from common.bus.port import Log
from common.events.backoff import NEVER, Backoff
from common.events.envelope import Event
from common.events.spec import EventSpec, Payload, Topic
from common.kernel.consumer import Consumer
from common.kernel.handlers import on
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis


class Work(Payload):
    """The `number`th piece of work of `key`."""

    key: str
    number: int
    org_id: str = ""


def work_requested(topic: Topic, retry: Backoff = NEVER) -> EventSpec[Work]:
    """The declaration of the work on a topic of the test's own."""
    return EventSpec(
        type="contract.work.requested",
        version=1,
        payload=Work,
        topic=topic,
        key=lambda work: work.key,
        summary="Work to be done.",
        retry=retry,
    )


@dataclass(frozen=True)
class Member:
    """Who joins what, how long a record takes it (seconds), and the file it writes to."""

    log_url: str
    live_url: str
    topic: str
    partitions: int
    group: str
    instance: str
    seconds: float
    done: str
    # Kafka alone: how soon its partitions pass on after its death, instead of the default.
    session_seconds: float | None = None

    def as_argument(self) -> str:
        return json.dumps(asdict(self))


@asynccontextmanager
async def opened(member: Member) -> AsyncIterator[Log]:
    if member.session_seconds is not None:
        yield KafkaLog(KafkaAccess.of(member.log_url), session_seconds=member.session_seconds)
        return
    settings = CommonSettings(log_url=member.log_url, redis_url=member.live_url)
    async with open_redis(member.live_url) as redis, open_log(settings, redis) as log:
        yield log


async def consume(member: Member) -> None:
    async with opened(member) as log, open_writer(member.live_url) as live:
        consumer = Consumer(
            log=log,
            live=live,
            group=member.group,
            instance=member.instance,
            handlers=[on(work_requested(Topic(member.topic, partitions=member.partitions)), finish)],
            deps=member,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
        await consumer.run()


async def finish(event: Event[Work], member: Member) -> None:
    await asyncio.sleep(member.seconds)
    with Path(member.done).open("a") as done:
        done.write(f"{event.payload.key} {event.payload.number}\n")


if __name__ == "__main__":
    asyncio.run(consume(Member(**json.loads(sys.argv[1]))))

"""One declaration per event: topic, wire schema, AsyncAPI, metric labels and dead letters derive from it."""

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from common.events.backoff import NEVER, Backoff

DEAD_LETTER_SUFFIX = "-dlq"


class Payload(BaseModel):
    """Base of every event payload: unknown fields are tolerated, so old code reads new data."""

    model_config = ConfigDict(extra="ignore", frozen=True)


P = TypeVar("P", bound=Payload)
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Topic:
    """A stream of the log.

    `partitions` is the least there must be on Kafka: each costs its reader about 0.25 ms a fetch, so they are few,
    and an operator with more than four instances of a service adds some. The embedded log keeps one a topic, since
    its consumers run one instance each and concurrency lives inside the partition.
    `retention` is how long a finished record stays readable for replay.
    """

    name: str
    partitions: int = 4
    retention: timedelta = timedelta(days=7)
    embedded_max_records: int = 20_000  # the embedded log lives in memory: finished records past this go first

    @property
    def dead_letters(self) -> "Topic":
        """The twin that keeps what could never be handled, for longer than its parent."""
        return Topic(self.name + DEAD_LETTER_SUFFIX, partitions=1, retention=timedelta(days=30))

    @property
    def is_dead_letters(self) -> bool:
        return self.name.endswith(DEAD_LETTER_SUFFIX)


class Delivery(StrEnum):
    """How often a consumer may see a record."""

    AT_LEAST_ONCE = "at-least-once"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EventSpec(Generic[P]):
    """The declaration of one event type at one major version.

    `key` derives the record key from the payload; records of one key share a partition, and with
    `ordered` they are handled one after the other. `expires` lets the kernel drop a record whose
    deadline has passed instead of starting work that nobody waits for. A `question` is over in a moment
    and has places of its own, so that it never waits behind long work. A key begins with the organisation,
    up to its first `/` or `:`, where the event is somebody's: places are shared out by it.

    `bulk` names a field of the payload, a JSON object, that may be large: past the deadline it is read as empty, and
    fields behind it (which have defaults) not at all, so that finishing what nobody waits for costs little.
    """

    type: str
    version: int
    payload: builtins.type[P]
    topic: Topic
    key: Callable[[P], str]
    summary: str
    retry: Backoff
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    park: bool = True
    ordered: bool = True
    expires: bool = False
    bulk: str | None = None
    question: bool = False

    @property
    def name(self) -> str:
        """Type and major version, as it stands in the record's headers: `chat.reply.requested/1`."""
        return f"{self.type}/{self.version}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RequestSpec(EventSpec[P], Generic[P, R]):
    """A command or query: an event that somebody waits for, who gets a `reply` over LIVE."""

    reply: builtins.type[R]


def query(
    *,
    type: str,
    payload: builtins.type[P],
    reply: builtins.type[R],
    topic: Topic,
    key: Callable[[P], str],
    summary: str,
) -> RequestSpec[P, R]:
    """A question that changes nothing: over in a moment, in no order, and worthless once nobody waits for it."""
    return RequestSpec(
        type=type,
        version=1,
        payload=payload,
        reply=reply,
        topic=topic,
        key=key,
        summary=summary,
        retry=NEVER,
        park=False,
        ordered=False,
        expires=True,
        question=True,
    )


@dataclass(frozen=True, slots=True, eq=False)
class SignalSpec(Generic[P]):
    """The declaration of a signal: a small message to every instance, over LIVE, worthless a minute later."""

    kind: str
    payload: builtins.type[P]
    summary: str
    reply: builtins.type[BaseModel] | None = None

"""The reference of topics."""

from datetime import timedelta
from typing import Any

from common.docs.markdown import code, page, table
from common.events.registry import EVENTS, topics
from common.events.spec import EventSpec, Topic

HEADER = ("topic", "partitions", "key", "events", "retention", "dead letters")
INTRO = (
    "Every topic of the log, created and verified when a service starts. Partitions count for Kafka; the embedded "
    "log keeps one a topic. Retention is how long a finished record stays readable for replay."
)


class _FieldName:
    """Stands in for a payload and its parts: every field is its own path in braces."""

    def __init__(self, path: str = "") -> None:
        self._path = path

    def __getattr__(self, name: str) -> "_FieldName":
        return _FieldName(f"{self._path}.{name}" if self._path else name)

    def __str__(self) -> str:
        return f"{{{self._path}}}"


def describe_key(spec: EventSpec[Any]) -> str:
    """How the record key is made, by field names: `{org_id}/{session_id}`."""
    return str(spec.key(_FieldName()))


def carried(topic: Topic) -> list[EventSpec[Any]]:
    """The events found on a topic; on a dead-letter twin only those that may be parked."""
    return [spec for spec in EVENTS if spec.topic == topic or (spec.park and spec.topic.dead_letters == topic)]


def reference() -> str:
    """The page, in Markdown."""
    return page("Topics", INTRO, table(HEADER, map(_row, topics())))


def _row(topic: Topic) -> tuple[str, ...]:
    specs = carried(topic)
    keys = dict.fromkeys(code(describe_key(spec)) for spec in specs)
    twin = topic.dead_letters.name if any(spec.park for spec in specs) and not topic.is_dead_letters else ""
    events = ", ".join(code(spec.name) for spec in specs)
    return code(topic.name), str(topic.partitions), ", ".join(keys), events, _days(topic.retention), code(twin)


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:g} days"

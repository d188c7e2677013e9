"""Rules every topic and every event declaration keeps."""

import re
from typing import Any

import pytest

from common.docs.schemas import label
from common.events.registry import BY_NAME, EVENTS, topics
from common.events.spec import DEAD_LETTER_SUFFIX, EventSpec, Topic
from tests.contract.test_event_compatibility import payloads

TOPIC_NAME = re.compile(r"[a-z]+(-[a-z]+)*")
EVENT_TYPE = re.compile(r"[a-z]+(\.[a-z_]+)+")

every_event = pytest.mark.parametrize("spec", EVENTS, ids=label)


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.name)
def test_topic_names_are_lower_case_words_with_dashes(topic: Topic) -> None:
    assert TOPIC_NAME.fullmatch(topic.name)
    assert topic.partitions >= 1
    assert topic.retention.total_seconds() > 0


def test_topic_names_are_declared_once() -> None:
    names = [topic.name for topic in topics()]
    assert len(names) == len(set(names))


def test_every_topic_with_parked_events_has_its_twin_and_no_other_has() -> None:
    expected = {spec.topic.name + DEAD_LETTER_SUFFIX for spec in EVENTS if spec.park}
    assert {topic.name for topic in topics() if topic.is_dead_letters} == expected


def test_dead_letters_are_kept_longer_than_what_they_came_from() -> None:
    for topic in topics(dead_letters=False):
        assert topic.dead_letters.retention > topic.retention


@every_event
def test_keys_are_never_empty(spec: EventSpec[Any]) -> None:
    assert all(spec.key(payload) for payload in payloads(spec.payload))


@every_event
def test_names_and_summaries_are_in_order(spec: EventSpec[Any]) -> None:
    assert EVENT_TYPE.fullmatch(spec.type)
    assert spec.version >= 1
    assert spec.summary.endswith(".")
    assert BY_NAME[spec.name] is spec


def test_facts_are_never_dropped() -> None:
    facts = [spec for spec in EVENTS if not spec.type.endswith(".requested")]
    assert all(spec.park and not spec.expires and spec.retry.attempts > 0 for spec in facts)

"""Webhooks of the voice provider on their way in: sent as it sends them, and as nobody should."""

import json
import uuid
from typing import Any

import httpx
import pytest

from common.events.webhooks import WEBHOOK_EVENTS
from tests.support.log import log_of
from tests.support.sonant import WEBHOOK_KEYS, Sonant


def deliver(sonant: Sonant, event: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Have the provider's stand-in send an event; what it was answered each time."""
    order = {"url": f"{sonant.url}/webhooks/hume", "key": WEBHOOK_KEYS[0], "event": event, **fields}
    answer = httpx.post(f"{sonant.sandbox_url}/sandbox/hume/webhooks", json=order, timeout=30.0)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def kept(sonant: Sonant, chat: str) -> list[dict[str, Any]]:
    """What of a chat is on the log."""
    async with log_of(sonant) as log:
        records = await log.read(WEBHOOK_EVENTS, limit=10_000)
    return [event for record in records if (event := json.loads(record.value))["body"].get("chat_id") == chat]


@pytest.fixture
def chat() -> str:
    return str(uuid.uuid4())


def started(chat: str) -> dict[str, Any]:
    return {"event_name": "chat_started", "chat_group_id": "g", "chat_id": chat, "start_time": 1716244940648}


async def test_a_conversation_is_told_once_however_often_it_is_sent(sonant: Sonant, chat: str) -> None:
    ended = {
        "event_name": "chat_ended",
        "chat_group_id": "g",
        "chat_id": chat,
        "config_id": "cfg",
        "caller_number": None,
        "end_time": 1716244958546,
        "duration_seconds": 18,
        "end_reason": "USER_ENDED",
    }
    answers = deliver(sonant, started(chat), times=3) + deliver(sonant, ended, key=WEBHOOK_KEYS[1])
    assert [answer["status"] for answer in answers] == [200] * 4
    assert [json.loads(answer["body"])["duplicate"] for answer in answers] == [False, True, True, False]
    events = await kept(sonant, chat)
    assert [event["event_name"] for event in events] == ["chat_started", "chat_ended"]
    assert events[1]["body"] == ended


@pytest.mark.parametrize("mode", ["bad-signature", "tampered", "stale", "future", "unsigned"])
async def test_what_is_not_genuine_is_refused(sonant: Sonant, chat: str, mode: str) -> None:
    (answer,) = deliver(sonant, started(chat), mode=mode)
    assert answer["status"] == 401
    assert set(json.loads(answer["body"])["error"]) == {"message", "type", "param", "code"}
    assert await kept(sonant, chat) == []


async def test_another_key_opens_nothing(sonant: Sonant, chat: str) -> None:
    (answer,) = deliver(sonant, started(chat), key=sonant.key)
    assert answer["status"] == 401


async def test_an_event_nobody_knows_yet_is_acknowledged_and_kept(sonant: Sonant, chat: str) -> None:
    (answer,) = deliver(sonant, {"event_name": "chat_paused", "chat_id": chat, "deep": {"er": [1]}})
    assert answer["status"] == 200
    (event,) = await kept(sonant, chat)
    assert (event["known"], event["body"]["deep"]) == (False, {"er": [1]})

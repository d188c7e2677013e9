"""Webhooks: when a delivery is tried again, what a message holds, and how it is signed."""

import base64
import time

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

from common.events.envelope import Event
from common.events.media import MEDIA_JOB_CANCELLED, MEDIA_JOB_COMPLETED, MEDIA_JOB_FAILED, JobCompleted
from common.events.media_topics import MEDIA_EVENTS
from common.events.webhook_endpoints import SUBSCRIBABLE
from common.providers.webhook_signature import jwk, new_key_pair, new_secret, signature
from media.handlers import HANDLERS
from media.settings import MediaSettings
from media.webhooks.delivery_schedule import MAX_WAIT, Outcome, verdict
from media.webhooks.message import MAX_MESSAGE_BYTES, message_of

DELAYS = (5.0, 300.0)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_success_ends_a_delivery(status: int) -> None:
    assert verdict(Outcome(status), 1, DELAYS).state == "delivered"


@pytest.mark.parametrize("outcome", [Outcome(301), Outcome(400), Outcome(500), Outcome(error="no answer")])
def test_anything_else_is_tried_again_with_growing_delays(outcome: Outcome) -> None:
    first, second = verdict(outcome, 1, DELAYS), verdict(outcome, 2, DELAYS)
    assert (first.state, second.state) == ("pending", "pending")
    assert first.wait is not None
    assert second.wait is not None
    assert 5.0 <= first.wait <= 5.5
    assert 300.0 <= second.wait <= 330.0
    assert verdict(outcome, 3, DELAYS).state == "failed"


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    assert verdict(Outcome(429, retry_after=1000.0), 1, DELAYS).wait == 1000.0
    assert verdict(Outcome(503, retry_after=1e9), 1, DELAYS).wait == MAX_WAIT
    assert (verdict(Outcome(503, retry_after=0.1), 1, DELAYS).wait or 0) >= 5.0


def test_what_can_be_subscribed_to_is_what_is_sent() -> None:
    ends = (MEDIA_JOB_COMPLETED, MEDIA_JOB_FAILED, MEDIA_JOB_CANCELLED)
    assert [spec.type for spec in ends] == list(SUBSCRIBABLE)
    assert set(ends) == {handler.spec for handler in HANDLERS if handler.spec.topic is MEDIA_EVENTS}


def test_gone_is_the_end() -> None:
    found = verdict(Outcome(410), 1, DELAYS)
    assert (found.state, found.gone) == ("failed", True)


def completed(result: dict[str, object]) -> Event[JobCompleted]:
    job = JobCompleted(
        org_id="org", key_id="key", job_id="job_1", kind="video", at=1.5, created_at=1.0, webhook="whe_1", result=result
    )
    return Event(MEDIA_JOB_COMPLETED, job, id="job_1/7")


def test_a_message_says_what_happened_and_nothing_about_keys() -> None:
    found = orjson.loads(message_of(completed({"codec": "h264"})))
    assert (found["type"], found["timestamp"]) == ("media.job.completed", "1970-01-01T00:00:01.500Z")
    assert found["data"]["result"] == {"codec": "h264"}
    assert not {"org_id", "key_id", "webhook"} & found["data"].keys()


def test_a_result_that_is_too_large_is_left_out() -> None:
    body = message_of(completed({"series": "x" * MAX_MESSAGE_BYTES}))
    assert len(body) < 1000
    assert orjson.loads(body)["data"]["result_left_out"] is True


def test_the_reference_library_accepts_our_signature_with_either_secret() -> None:
    body, old, new = b'{"type": "x", "data": "\xc3\xa9"}', new_secret(), new_secret()
    headers = signature(new, "msg_1", body, int(time.time()), also=[old])
    for secret in (old, new):
        Webhook(secret).verify(body, headers)


def test_ed25519_is_checked_with_the_published_key() -> None:
    pair, body = new_key_pair(), b"{}"
    headers = signature(pair.private, "msg_1", body, 7)
    version, _, proof = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    raw = base64.urlsafe_b64decode(jwk(pair.public)["x"] + "==")
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(proof), b"msg_1.7.{}")


@pytest.mark.parametrize("delays", ["", "x", "0", "-1", "1e9", "nan", ",".join(["1"] * 21)])
def test_delays_that_cannot_be_are_refused(delays: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONANT_WEBHOOK_DELAYS", delays)
    with pytest.raises(ValueError, match="webhook_delays"):
        MediaSettings()

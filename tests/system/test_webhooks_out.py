"""Webhooks out: registered by challenge, signed as Standard Webhooks has it, sent until they are received."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.clients import client, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually
from tests.support.webhook_sink import Received, Sink, webhook_sink

TINY = {"prompt": "a red kite", "duration": 0.5, "width": 160, "height": 96, "model": "local"}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with webhook_sink() as opened:
        yield opened


@pytest.fixture
async def caller(sonant: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, new_key(sonant, scopes=["media"]).headers) as opened:
        yield opened


async def register(caller: httpx.AsyncClient, sink: Sink, path: str, **fields: Any) -> dict[str, Any]:
    answer = await caller.post("/v1/webhooks/endpoints", json={"url": f"{sink.url}/{path}", **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def send_test(caller: httpx.AsyncClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    answer = await caller.post(f"/v1/webhooks/endpoints/{endpoint['id']}/test")
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def settled(caller: httpx.AsyncClient, id: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        found: dict[str, Any] = (await caller.get(f"/v1/webhooks/deliveries/{id}")).json()
        return found if found["state"] != "pending" else None

    found: dict[str, Any] | None = await eventually(check, timeout=30)
    assert found is not None
    return found


def verified(received: Received, secret: str) -> bool:
    try:
        Webhook(secret).verify(received.body, received.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_the_end_of_a_job_reaches_who_registered(caller: httpx.AsyncClient, sink: Sink) -> None:
    endpoint = await register(caller, sink, "good")
    [challenge] = sink.of("good", "webhook.challenge")
    assert verified(challenge, endpoint["secret"])
    made = await caller.post("/v1/media/video", json=TINY)
    assert made.status_code == 202, made.text

    async def came() -> list[Received]:
        return sink.of("good")

    [received] = await eventually(came, timeout=60)
    assert verified(received, endpoint["secret"])
    assert received.json["type"] == "media.job.completed"
    assert received.json["data"]["job_id"] == made.json()["id"]
    assert received.json["data"]["result"]["codec"] == "h264"
    assert "key_id" not in received.json["data"]
    listed = (await caller.get("/v1/webhooks/deliveries")).json()["data"]
    assert [each["message_id"] for each in listed] == [received.id]
    delivery = await settled(caller, listed[0]["id"])
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("delivered", 204)


async def test_who_is_named_alone_gets_no_other_job(caller: httpx.AsyncClient, sink: Sink) -> None:
    named = await register(caller, sink, "good-named", events=[])
    await register(caller, sink, "good-all", events=["media.job.completed"])
    first = (await caller.post("/v1/media/video", json=TINY)).json()
    answer = await caller.post("/v1/media/video", json=TINY, headers={"x-sonant-webhook": named["id"]})
    assert answer.status_code == 202, answer.text

    async def both() -> bool:
        return len(sink.of("good-all")) == 2 and bool(sink.of("good-named"))

    await eventually(both, timeout=60)
    assert {each.json["data"]["job_id"] for each in sink.of("good-all")} == {first["id"], answer.json()["id"]}
    assert [each.json["data"]["job_id"] for each in sink.of("good-named")] == [answer.json()["id"]]
    wrong = await caller.post("/v1/media/video", json=TINY, headers={"x-sonant-webhook": "http://example.com"})
    assert wrong.status_code == 400


@pytest.mark.parametrize("path", ["lie", "redirect"])
async def test_an_address_that_does_not_repeat_the_challenge_is_refused(
    caller: httpx.AsyncClient, sink: Sink, path: str
) -> None:
    answer = await caller.post("/v1/webhooks/endpoints", json={"url": f"{sink.url}/{path}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "webhook_not_verified")
    assert (await caller.get("/v1/webhooks/endpoints")).json()["data"] == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://10.0.0.1/hook", "url_not_allowed"),
        ("http://169.254.169.254/latest", "url_not_allowed"),
        ("http://[::1]:8080/", "url_not_allowed"),
        ("http://user:pass@example.com/", "url_not_allowed"),
        ("ftp://example.com/", "invalid_value"),
        ("", "invalid_value"),
    ],
)
async def test_addresses_that_may_not_be_called(caller: httpx.AsyncClient, url: str, code: str) -> None:
    answer = await caller.post("/v1/webhooks/endpoints", json={"url": url})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_nothing_is_lost_to_a_flaky_receiver_while_the_secret_is_rotated(
    caller: httpx.AsyncClient, sink: Sink
) -> None:
    endpoint = await register(caller, sink, "flaky")
    before = [await send_test(caller, endpoint) for _ in range(5)]
    answer = await caller.post(f"/v1/webhooks/endpoints/{endpoint['id']}/rotate", json={"overlap": 3600})
    assert answer.status_code == 200, answer.text
    rotated = answer.json()
    assert rotated["secret"] != endpoint["secret"]
    after = [await send_test(caller, endpoint) for _ in range(5)]
    for each in before + after:
        assert (await settled(caller, each["id"]))["state"] == "delivered"
    arrived = sink.of("flaky", "webhook.test")
    assert {each.id for each in arrived} == {each["message_id"] for each in before + after}
    # Until the overlap ends, a receiver with either secret accepts everything.
    late = {each["message_id"] for each in after}
    assert all(verified(each, endpoint["secret"]) for each in arrived)
    assert all(verified(each, rotated["secret"]) for each in arrived if each.id in late)


async def test_what_is_never_received_is_listed_and_sent_once_more(caller: httpx.AsyncClient, sink: Sink) -> None:
    endpoint = await register(caller, sink, "down")
    delivery = await settled(caller, (await send_test(caller, endpoint))["id"])
    assert delivery["state"] == "failed"
    assert [each["status"] for each in delivery["attempts"]] == [500] * 4
    failed = (await caller.get("/v1/webhooks/deliveries", params={"state": "failed"})).json()["data"]
    assert [each["id"] for each in failed] == [delivery["id"]]
    sink.behaviour["down"] = "good"
    again = await caller.post(f"/v1/webhooks/deliveries/{delivery['id']}/redeliver")
    assert again.status_code == 202
    delivered = await settled(caller, delivery["id"])
    assert (delivered["state"], delivered["attempts_made"]) == ("delivered", 5)
    assert len({each.id for each in sink.of("down")}) == 1


async def test_all_that_failed_is_recovered(caller: httpx.AsyncClient, sink: Sink) -> None:
    endpoint = await register(caller, sink, "down")
    made = [await send_test(caller, endpoint) for _ in range(3)]
    for each in made:
        assert (await settled(caller, each["id"]))["state"] == "failed"
    sink.behaviour["down"] = "good"
    answer = await caller.post(f"/v1/webhooks/endpoints/{endpoint['id']}/recover", json={"since": 0})
    assert (answer.status_code, answer.json()) == (202, {"deliveries": 3})
    for each in made:
        assert (await settled(caller, each["id"]))["state"] == "delivered"


async def test_a_receiver_that_is_gone_is_left_alone_until_it_is_switched_on(
    caller: httpx.AsyncClient, sink: Sink
) -> None:
    endpoint = await register(caller, sink, "gone")
    delivery = await settled(caller, (await send_test(caller, endpoint))["id"])
    assert (delivery["state"], delivery["attempts_made"]) == ("failed", 1)
    found = (await caller.get(f"/v1/webhooks/endpoints/{endpoint['id']}")).json()
    assert found["state"] == "disabled"
    assert "410" in found["disabled_reason"]
    sink.behaviour["gone"] = "good"
    waiting = await send_test(caller, endpoint)
    on = await caller.patch(f"/v1/webhooks/endpoints/{endpoint['id']}", json={"enabled": True})
    assert (on.status_code, on.json()["state"]) == (200, "enabled")
    assert (await settled(caller, waiting["id"]))["state"] == "delivered"


async def test_a_receiver_that_hangs_holds_up_nobody_else(caller: httpx.AsyncClient, sink: Sink) -> None:
    hanging = await register(caller, sink, "good-hang")
    sink.behaviour["good-hang"] = "hang"
    stuck = [await send_test(caller, hanging) for _ in range(8)]
    quick = await register(caller, sink, "good")
    assert (await settled(caller, (await send_test(caller, quick))["id"]))["state"] == "delivered"
    sink.behaviour["good-hang"] = "good"
    for each in stuck:
        assert (await settled(caller, each["id"]))["state"] == "delivered"


async def test_public_keys_prove_what_is_signed_with_ed25519(
    sonant: Sonant, caller: httpx.AsyncClient, sink: Sink
) -> None:
    endpoint = await register(caller, sink, "good", signing="ed25519")
    assert endpoint["secret"] is None
    await caller.post(f"/v1/webhooks/endpoints/{endpoint['id']}/rotate", json={})
    await settled(caller, (await send_test(caller, endpoint))["id"])
    # Whoever receives has no key of ours.
    keys = httpx.get(f"{sonant.url}/v1/webhooks/endpoints/{endpoint['id']}/jwks.json")
    assert keys.status_code == 200
    found = keys.json()["keys"]
    assert len(found) == 2
    [received] = sink.of("good")
    signatures = received.headers["webhook-signature"].split(" ")
    signed = b".".join([received.id.encode(), received.headers["webhook-timestamp"].encode(), received.body])
    for jwk, signature in zip(found, signatures, strict=True):
        version, _, text = signature.partition(",")
        assert version == "v1a"
        raw = base64.urlsafe_b64decode(jwk["x"] + "==")
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(text), signed)


async def test_nobody_sees_the_endpoints_of_another_organisation(
    sonant: Sonant, caller: httpx.AsyncClient, sink: Sink
) -> None:
    endpoint = await register(caller, sink, "good")
    delivery = await send_test(caller, endpoint)
    await settled(caller, delivery["id"])
    path, sent = f"/v1/webhooks/endpoints/{endpoint['id']}", f"/v1/webhooks/deliveries/{delivery['id']}"
    async with client(sonant.url, new_key(sonant, scopes=["media"]).headers) as other:
        for method, where, body in (
            ("GET", path, None),
            ("PATCH", path, {"enabled": False}),
            ("DELETE", path, None),
            ("POST", f"{path}/rotate", {}),
            ("POST", f"{path}/test", None),
            ("POST", f"{path}/recover", {"since": 0}),
            ("GET", sent, None),
            ("POST", f"{sent}/redeliver", None),
        ):
            answer = await other.request(method, where, json=body)
            assert answer.status_code == 404, (method, where, answer.text)
        assert (await other.get("/v1/webhooks/endpoints")).json()["data"] == []
        assert (await other.get("/v1/webhooks/deliveries")).json()["data"] == []
    assert (await caller.get(path)).json()["state"] == "enabled"


async def test_an_endpoint_is_forgotten_with_its_deliveries(caller: httpx.AsyncClient, sink: Sink) -> None:
    endpoint = await register(caller, sink, "good")
    delivery = await send_test(caller, endpoint)
    await settled(caller, delivery["id"])
    gone = await caller.delete(f"/v1/webhooks/endpoints/{endpoint['id']}")
    assert (gone.status_code, gone.json()["deleted"]) == (200, True)
    assert (await caller.get(f"/v1/webhooks/deliveries/{delivery['id']}")).status_code == 404
    assert (await caller.get(f"/v1/webhooks/endpoints/{endpoint['id']}/jwks.json")).status_code == 404


async def test_a_secret_of_ones_own_signs_the_challenge(caller: httpx.AsyncClient, sink: Sink) -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    endpoint = await register(caller, sink, "good", secret=secret)
    assert endpoint["secret"] == secret
    [challenge] = sink.of("good", "webhook.challenge")
    assert verified(challenge, secret)
    short = await caller.post("/v1/webhooks/endpoints", json={"url": f"{sink.url}/good", "secret": "whsec_c2hvcnQ="})
    assert (short.status_code, short.json()["error"]["param"]) == (400, "secret")

"""What strangers get to see: no secrets in a failure that is passed on, no inner addresses in readiness."""

import asyncio
import json

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.failures import Refused
from common.kernel.health import Health
from gateway.http.errors import response_to
from gateway.http.readiness import public_health_routes


def body_of(refused: Refused) -> str:
    body = response_to(refused).body
    assert isinstance(body, bytes)
    return body.decode()


def test_a_failure_of_others_is_passed_on_without_secrets() -> None:
    text = "upstream said: Incorrect key sk-live-0123456789abcdef for redis://:hunter22@10.0.0.7:6379"
    for status in (500, 502, 503, 504):
        told = body_of(Refused(status, text, "upstream_error", type="server_error"))
        assert "0123456789" not in told
        assert "hunter22" not in told
        assert "upstream said" in told


async def test_readiness_names_what_is_wrong_and_no_inner_address() -> None:
    health = Health()
    health.state("ready")
    app = web.Application()
    app.add_routes(public_health_routes(health))
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/readyz")
        assert (answer.status, await answer.json()) == (200, {"status": "ready", "complaints": {}})
        health.watch("log", lambda: "unix:///var/lib/sonant/valkey.sock does not answer")
        answer = await client.get("/readyz")
        assert answer.status == 503
        assert json.loads(await answer.text()) == {
            "status": "unready",
            "complaints": {"log": "does not work right now"},
        }
        assert (await client.get("/healthz")).status == 200
        assert "sonant_" in await (await client.get("/metrics")).text()
    await asyncio.sleep(0)

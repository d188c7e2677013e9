"""The gateway's edge: what strangers get to see, web pages of other origins, settings that cannot be."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import ValidationError

from common.bus.port import check_sizes
from common.events.chat import CHAT_REPLY_REQUESTED, ChatReplyRequested
from common.events.envelope import Event
from common.failures import Refused
from common.kernel.health import Health
from common.kernel.settings import refusals
from gateway.http import boundary, cors
from gateway.http.errors import response_to
from gateway.http.not_served import INSTEAD, instead_of
from gateway.http.readiness import public_health_routes
from gateway.settings import MAX_BODY_BYTES, GatewaySettings


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
        assert (await client.get("/metrics")).status == 404
    await asyncio.sleep(0)


async def test_metrics_are_public_where_the_operator_says_so() -> None:
    app = web.Application()
    app.add_routes(public_health_routes(Health(), metrics=True))
    async with TestClient(TestServer(app)) as client:
        assert "sonant_" in await (await client.get("/metrics")).text()


# -- web pages of other origins ------------------------------------------------------------------------------------


async def small(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def open_to(origins: str) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    boundary.install(app)
    cors.install(app, GatewaySettings(cors_origins=origins).origins)
    app.router.add_post("/small", small)
    return TestClient(TestServer(app))


PAGE = "https://app.example.com"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-user-id"}


@pytest.mark.parametrize(
    ("origins", "allowed"), [(PAGE, PAGE), (f"https://other.example.com, {PAGE}", PAGE), ("*", "*")]
)
async def test_pages_of_named_origins_may_call_and_read_our_headers(origins: str, allowed: str) -> None:
    async with open_to(origins) as client:
        asked = await client.options("/small", headers={"origin": PAGE, **PREFLIGHT})
        assert asked.status == 204
        assert asked.headers["access-control-allow-origin"] == allowed
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "authorization, x-user-id"
        for path, status in (("/small", 200), ("/nowhere", 404)):
            answer = await client.post(path, headers={"origin": PAGE})
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == allowed
            assert "access-control-allow-credentials" not in answer.headers
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "retry-after", "x-sonant-completion-id"} <= set(exposed)
            assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origins", ["", "https://other.example.com"])
async def test_pages_of_other_origins_may_not(origins: str) -> None:
    async with open_to(origins) as client:
        asked = await client.options("/small", headers={"origin": PAGE, **PREFLIGHT})
        assert asked.status == 405
        answer = await client.post("/small", headers={"origin": PAGE})
        assert "access-control-allow-origin" not in {*asked.headers, *answer.headers}


@pytest.mark.parametrize("origins", ["app.example.com", "https://app.example.com/", "null", "https://a b"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValidationError) as refused:
        GatewaySettings(cors_origins=origins)
    [line] = refusals(refused.value)
    assert line.startswith("SONANT_CORS_ORIGINS: ")


# -- what the log can carry ------------------------------------------------------------------------------------------


def test_a_body_limit_that_the_log_cannot_carry_is_refused_at_the_start_in_one_line() -> None:
    env = {**os.environ, "SONANT_MAX_BODY_BYTES": str(64 * 1024 * 1024)}
    done = subprocess.run([sys.executable, "-m", "gateway"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == os.EX_CONFIG
    assert done.stderr == f"SONANT_MAX_BODY_BYTES: the log takes requests of at most {MAX_BODY_BYTES} bytes\n"


def test_the_largest_body_that_may_be_set_fits_into_a_record() -> None:
    longest = "x" * 200
    frame = len(orjson.dumps({"messages": [{"role": "user", "content": ""}]}))
    body = {"messages": [{"role": "user", "content": "x" * (MAX_BODY_BYTES - frame)}]}
    payload = ChatReplyRequested(
        request_id=longest,
        org_id=longest,
        key_id=longest,
        session_id="é" * 200,
        user_id="é" * 200,
        project_id="é" * 200,
        model=longest,
        stream=True,
        body=body,
        resume_grace=600,
        received_at=1e9,
    )
    event = Event(CHAT_REPLY_REQUESTED, payload, id=longest, deadline=1e9, reply_to=longest, request_id=longest)
    check_sizes([event.record()])


# -- what is not there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/responses/resp_1/cancel",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/images/generations",
        "/v1/moderations",
        "/v1/files",
        "/v1/batches",
        "/v1/assistants",
        "/v1/threads/t/runs",
    ],
)
async def test_what_is_not_served_says_what_to_use_instead(path: str) -> None:
    async with open_to("") as client:
        answer = await client.post(path, json={})
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["type"]) == (404, "unknown_url", "invalid_request_error")
    assert f"Unknown request URL: POST {path}." in error["message"]
    assert "not served" in error["message"]
    page = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    assert any(f"`{prefix}`" in page for prefix in INSTEAD if path.startswith(prefix))


def test_a_path_nobody_would_expect_gets_no_sentence() -> None:
    assert instead_of("/v1/completions-of-mine") is None

"""A broker with TLS and logins: who is let in, and what everybody else is told."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer

from common.bus.connect import open_log_at
from common.bus.port import BusUnavailableError, LogRefusedError
from common.events.record import Record
from common.events.spec import Topic
from sonant_cli.engine_check import findings
from tests.support.secured_kafka import PASSWORD, SCRAM, USER, SecuredBroker, unsigned_token

pytestmark = pytest.mark.kafka


async def carries(url: str) -> None:
    """A record goes there and comes back."""
    topic = Topic(f"t-{uuid.uuid4().hex}", partitions=1)
    async with open_log_at(url) as log:
        await log.ensure([topic])
        await log.publish(Record(topic.name, "key", b"value", {}))
        assert [record.value for record in await log.read(topic, limit=10)] == [b"value"]


async def told(url: str) -> str:
    async with open_log_at(url) as log:
        with pytest.raises(LogRefusedError) as refused:
            await log.ping()
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


@pytest.fixture
async def token_endpoint() -> AsyncIterator[TestServer]:
    """Gives a token to who knows the password."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        assert (form["grant_type"], form["scope"]) == ("client_credentials", "kafka")
        if request.headers["authorization"] != encode_basic_auth(USER, PASSWORD):
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response({"access_token": unsigned_token(), "expires_in": 300, "token_type": "Bearer"})

    app = web.Application()
    app.router.add_post("/token", token)
    server = TestServer(app)
    async with server:
        yield server


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_a_user_logs_in_by_every_mechanism(secured_broker: SecuredBroker, mechanism: str) -> None:
    await carries(secured_broker.url_by(mechanism))
    refused = await told(secured_broker.url_by(mechanism, "a-wrong-password"))
    assert refused.startswith(f"the log refuses us: localhost:{secured_broker.port}: Authentication failed")


async def test_a_client_is_known_by_its_certificate(secured_broker: SecuredBroker) -> None:
    await carries(secured_broker.mutual_url)


async def test_a_token_comes_from_a_file_or_an_endpoint(
    secured_broker: SecuredBroker, token_endpoint: TestServer, tmp_path: Path
) -> None:
    endpoint = {"token_url": str(token_endpoint.make_url("/token")), "token_scope": "kafka"}
    await carries(secured_broker.url_by("OAUTHBEARER", **endpoint))
    refused = await told(secured_broker.url_by("OAUTHBEARER", "a-wrong-password", **endpoint))
    assert "the token endpoint refuses us with status 401" in refused
    file = tmp_path / "token"
    file.write_text(unsigned_token())
    await carries(secured_broker.url_by_token(token_file=str(file)))
    file.write_text("not a token")
    # Whether the broker says why depends on whether it hangs up first.
    assert (await told(secured_broker.url_by_token(token_file=str(file)))).startswith("the log refuses us: ")
    assert f"token_file {tmp_path}/none cannot be read" in await told(
        secured_broker.url_by_token(token_file=f"{tmp_path}/none")
    )


async def test_whoever_speaks_otherwise_is_told_or_waits(secured_broker: SecuredBroker) -> None:
    stranger = f"kafka+ssl://{USER}:x@{secured_broker.address}"
    assert "its certificate is not trusted" in await told(stranger)
    async with open_log_at(f"kafka://{secured_broker.address}") as log:
        with pytest.raises(BusUnavailableError, match="does not answer"):
            await log.ping()


async def test_a_check_says_in_one_line_what_does_not_fit(secured_broker: SecuredBroker) -> None:
    assert await findings({"SONANT_LOG_URL": secured_broker.url}) == []
    url = f"kafka+ssl://{secured_broker.address}?sasl_mechanism=PLAIN"
    login = {"SONANT_KAFKA_USERNAME": USER, "SONANT_KAFKA_SSL_CAFILE": str(secured_broker.authority)}
    assert await findings({"SONANT_LOG_URL": url, **login, "SONANT_KAFKA_PASSWORD": PASSWORD}) == []
    [wrong] = await findings({"SONANT_LOG_URL": url, **login, "SONANT_KAFKA_PASSWORD": "other"})
    assert wrong.text.startswith(f"SONANT_LOG_URL: refuses us: localhost:{secured_broker.port}: Authentication failed")
    assert wrong.lasting
    [clear] = await findings({"SONANT_LOG_URL": f"kafka://{secured_broker.address}"})
    assert clear.text == "SONANT_LOG_URL: answers, but does not speak Kafka to us (kafka+ssl:// is for TLS)"
    [unknown] = await findings({"SONANT_LOG_URL": "kafka+ssl://no-such-host.invalid:9092"})
    assert unknown.text == "SONANT_LOG_URL: no-such-host.invalid:9092: no host of this name is known"

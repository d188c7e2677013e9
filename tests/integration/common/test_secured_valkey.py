"""The live store as operators have it: by TLS, with an account of its own, and never a cluster."""

import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from common.bus.connect import open_log_at
from common.events.record import Record
from common.events.spec import Topic
from common.storage.redis import UNAVAILABLE, open_redis
from common.storage.resp import open_resp
from sonant_cli.engine_check import findings
from sonant_cli.engines import Engine, valkey
from tests.support.commands import command
from tests.support.engines import running
from tests.support.tls_front import Front, tls_front

USER, PASSWORD = "sonant", "s3cret/@:#"
ESCAPED = "s3cret%2F%40%3A%23"
# What an account needs, and no more: its own keys and channels, and nothing that is for administrators.
RULES = ("reset", "on", f">{PASSWORD}", "~sonant:*", "&sonant:*", "+@all", "-@dangerous", "-@admin")


@pytest.fixture
async def front(valkey_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    port = urlsplit(valkey_url).port
    assert port
    async with tls_front(port, tmp_path) as front:
        yield front


@pytest.fixture
async def account(valkey_url: str) -> AsyncIterator[str]:
    """`user:password` of an account that may do what Sonant does."""
    async with open_redis(valkey_url) as admin:
        await admin.execute_command("ACL", "SETUSER", USER, *RULES)  # type: ignore[no-untyped-call]
        yield f"{USER}:{ESCAPED}"
        await admin.execute_command("ACL", "DELUSER", USER)  # type: ignore[no-untyped-call]


async def test_everything_goes_by_tls_with_an_account_of_its_own(front: Front, account: str) -> None:
    url = f"rediss://{account}@localhost:{front.port}/0?ssl_ca_certs={front.authority}"
    topic = Topic(f"t-{uuid.uuid4().hex}", partitions=1)
    async with open_redis(url) as general, open_resp(url) as lean, open_log_at(url) as log:
        assert await general.ping()
        assert await lean.execute("SET", "sonant:test:tls", "1", "EX", 10) == b"OK"
        await log.ensure([topic])
        await log.ping()
        await log.publish(Record(topic.name, "key", b"value", {}))
        assert [record.value for record in await log.read(topic, limit=10)] == [b"value"]
    assert await findings({"SONANT_REDIS_URL": url, "SONANT_LOG_URL": url}) == []


async def test_a_certificate_that_is_not_trusted_is_refused_by_both_connections(front: Front, account: str) -> None:
    url = f"rediss://{account}@localhost:{front.port}/0"
    async with open_redis(url) as general, open_resp(url) as lean:
        with pytest.raises(UNAVAILABLE, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            await general.ping()
        with pytest.raises(UNAVAILABLE, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            await lean.execute("PING")


async def test_a_wrong_password_and_a_wrong_scheme_are_a_line_each(front: Front, account: str) -> None:
    del account
    options = f"ssl_ca_certs={front.authority}"
    found = await findings(
        {
            "SONANT_REDIS_URL": f"rediss://{USER}:wrong@localhost:{front.port}/0?{options}",
            "SONANT_LOG_URL": f"redis://{USER}:wrong@localhost:{front.port}/0",
        }
    )
    lines = {finding.text.partition(":")[0]: finding.text for finding in found}
    assert lines["SONANT_REDIS_URL"].startswith("SONANT_REDIS_URL: refuses us: invalid username-password pair")
    assert lines["SONANT_LOG_URL"].startswith("SONANT_LOG_URL: does not answer as Redis")
    assert not any("\n" in line or "wrong" in line for line in lines.values())


def clustered(home: Path, port: int, password: str) -> Engine:
    engine = valkey(home, port, password)
    options = ("--cluster-enabled", "yes")
    return replace(engine, process=replace(engine.process, command=[*engine.process.command, *options]))


async def test_a_cluster_is_refused_at_boot_by_the_name_of_its_variable() -> None:
    async with running(clustered) as engine:
        line = "SONANT_REDIS_URL: is a Redis Cluster; expected is the address of a single server"
        [found] = await findings({"SONANT_REDIS_URL": engine.url})
        assert found.lasting
        assert found.text.startswith(line)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
        done = await command(
            *(sys.executable, "-m", "telemetry"),
            env={**clean, "SONANT_REDIS_URL": engine.url, "SONANT_LOG_URL": engine.url},
        )
        assert done.code == os.EX_UNAVAILABLE
        assert "SONANT_REDIS_URL is a Redis Cluster; expected is the address of a single server" in done.text

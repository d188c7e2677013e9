"""Backup, changes, restore: the page as it is typed, with old caches left lying about, embedded and as with compose.

The second runs on a broker with TLS and logins, and so shows that a whole Sonant does.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from sonant_cli.engines import SERVER_BINARIES, postgres, tool, valkey
from tests.support.clients import new_key
from tests.support.engines import running
from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.secured_kafka import PASSWORD, USER, SecuredBroker
from tests.support.sonant import STOP_SECONDS, Sonant, sonant_system, started_again
from tests.support.waiting import eventually

PAGE = "backup-and-restore.md"
PROJECT = {"projectId": "p"}
MODELS = {"default": "sandbox"}
# In place of Docker: what is to be run in the container of the database is run here, and the services are the test's.
DOCKER = 'docker() { if [ "$2" = exec ]; then shift 4; "$@"; fi; }\n'


class Team:
    """A product team that switches between prompts."""

    def __init__(self, system: Sonant) -> None:
        headers = {**new_key(system, scopes=["resources", "chat"]).headers, "x-user-id": "u"}
        self.api = httpx.Client(base_url=system.url, headers=headers, timeout=60.0)
        config = self.api.post("/api/hume/configs", json={"name": "c", "evi_version": "3"})
        self.config = config.json()["config"]["id"]

    def switch(self, text: str, **headers: str) -> httpx.Response:
        made = self.api.post("/api/hume/prompts", json={"name": text, "text": text})
        assert made.status_code == 201, made.text
        pins = {"configId": self.config, "configVersion": 0, "promptId": made.json()["prompt"]["id"]}
        switched = self.api.put("/v1/active", params=PROJECT, json={**pins, "promptVersion": 0}, headers=headers)
        assert switched.status_code == 200, switched.text
        return switched

    def reads(self) -> tuple[str, int, list[int]]:
        """The text that is active, its revision, and the revisions of the history."""
        active = self.api.get("/v1/active", params=PROJECT).json()
        history = self.api.get("/v1/active/history", params=PROJECT).json()
        return active["prompt"]["text"], active["revision"], [each["revision"] for each in history["data"]]

    def chats(self) -> None:
        body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
        assert self.api.post("/v1/chat/completions", json=body).status_code == 200


def changed_after_the_backup(team: Team) -> None:
    for number in range(3):
        team.switch(f"of the future {number}")
    assert team.reads() == ("of the future 2", 4, [4, 3, 2, 1])


async def right_after_the_start(team: Team, system: Sonant) -> None:
    assert team.reads() == ("of the backup", 1, [1])
    assert [each["name"] for each in prompts(team)] == ["of the backup"]
    team.switch("of the present")
    assert team.reads() == ("of the present", 2, [2, 1])
    team.chats()
    assert "the database was restored" in system.log("resources")
    # What is kept of the turn comes from the log, which went on.
    await eventually(lambda: team.api.get("/v1/usage").json()["data"] != [], timeout=60)
    team.api.close()


def prompts(team: Team) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = team.api.get("/api/hume/prompts").json()["prompts"]
    return found


async def test_embedded_a_restore_is_true_from_the_first_read_on(tmp_path: Path) -> None:
    backup, restore = blocks(PAGE, "sh")
    with sonant_system(models=MODELS) as system:
        reader, team = Reader.at(tmp_path, system), Team(system)
        team.switch("of the backup")
        assert "the database is in sonant.dump" in reader.types(SHELL, backup)
        changed_after_the_backup(team)
        refused = subprocess.run([*SHELL, restore], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "sonant already runs" in refused.stderr
        end(system)
        assert "the database is as sonant.dump has it" in reader.types(SHELL, restore)
        with started_again(system):
            await right_after_the_start(team, system)


@pytest.fixture
def tools() -> str:
    """A path with PostgreSQL's own programs."""
    program = tool("pg_dump")
    assert program, SERVER_BINARIES
    return f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}"


def in_the_container(url: str, tools: str) -> Mapping[str, str]:
    parts = httpx.URL(url)
    address = {"PGHOST": parts.host, "PGPORT": str(parts.port), "PGPASSWORD": parts.password}
    return {**os.environ, **address, "PATH": tools}


@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("bash") is None, reason="the page is written for bash")
async def test_as_with_compose_by_sasl_ssl_a_restore_is_true_from_the_first_read_on(
    secured_broker: SecuredBroker, tmp_path: Path, tools: str
) -> None:
    backup, restore, *_ = blocks(PAGE, "bash")
    async with running(postgres) as database, running(valkey) as store:
        env = {
            "SONANT_LOG_URL": f"kafka+ssl://{secured_broker.address}?sasl_mechanism=SCRAM-SHA-256",
            "SONANT_KAFKA_USERNAME": USER,
            "SONANT_KAFKA_PASSWORD": PASSWORD,
            "SONANT_KAFKA_SSL_CAFILE": str(secured_broker.authority),
            "SONANT_REDIS_URL": store.url,
            "SONANT_DATABASE_URL": database.url,
        }
        container = in_the_container(database.url, tools)
        with sonant_system(models=MODELS, env=env) as system:
            team = Team(system)
            team.chats()
            team.switch("of the backup")
            subprocess.run([*SHELL, DOCKER + backup], cwd=tmp_path, env=container, check=True)
            changed_after_the_backup(team)
            knows_the_log(system)
            end(system)
            subprocess.run([*SHELL, DOCKER + restore], cwd=tmp_path, env=container, check=True)
            with started_again(system):
                await right_after_the_start(team, system)


def knows_the_log(system: Sonant) -> None:
    """A command in another shell, without the variables: the login is where `sonant up` keeps addresses."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
    told = subprocess.run(
        [tool_of_sonant(), "topics"],
        env={**clean, "SONANT_DATA_DIR": str(system.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "chat-requests" in told.stdout
    assert PASSWORD not in told.stdout


def tool_of_sonant() -> str:
    return str(Path(sys.executable).parent / "sonant")


def end(system: Sonant) -> None:
    system.supervisor.terminate()
    system.supervisor.wait(STOP_SECONDS)

"""The image and the set-up from a bare checkout."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from common.kernel.health import Health, ops_routes
from tests.support.deploy import (
    DEPLOY,
    SERVICES,
    dockerfile,
    module_of,
    ours,
)
from tests.support.sonant import ROOT


def write_command(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class TestSetUp:
    """`make` on machines that lack something."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> Path:
        """What an attempt that failed has left: an interpreter that cannot install anything."""
        made = tmp_path / "venv"
        (made / "bin").mkdir(parents=True)
        write_command(made / "bin" / "python", "exit 1")
        return made

    def refusal(self, environment: Path, interpreter: Path) -> str:
        command = ["make", "-C", str(ROOT), f"VENV={environment}", f"PYTHON={interpreter}", f"{environment}/.runtime"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        return done.stderr

    def test_an_older_python_is_refused_by_its_version(self, tmp_path: Path, environment: Path) -> None:
        older = write_command(tmp_path / "python", '[ "$1" = --version ] && echo Python 3.10.12 || exit 1')
        assert f"needs Python 3.11 or newer; {older} is Python 3.10.12." in self.refusal(environment, older)

    def test_an_environment_that_could_not_be_made_is_not_there_next_time(
        self, tmp_path: Path, environment: Path
    ) -> None:
        halfway = f'[ "$2" = venv ] && mkdir -p "$3/bin" && exit 1\nexec {sys.executable} "$@"'
        assert "python3-venv" in self.refusal(environment, write_command(tmp_path / "python", halfway))
        assert not environment.exists()


class TestImage:
    def test_compose_builds_each_from_the_one_file(self) -> None:
        for name, spec in ours().items():
            assert spec["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile", "args": {"SERVICE": name}}

    def test_every_package_of_the_tree_is_installed(self) -> None:
        [packages] = re.findall(r"^PACKAGES := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(re.findall(r"-e (\S+)", dockerfile())) == set(packages.split())

    @pytest.mark.parametrize("service", SERVICES)
    def test_the_default_command_names_a_module(self, service: str) -> None:
        assert '$(echo \\"$SERVICE\\" | tr - _)' in dockerfile()
        assert (ROOT / "services" / service / "src" / module_of(service)).is_dir()

    def test_runs_without_root_and_stops_on_sigterm(self) -> None:
        assert re.findall(r"^USER (\d+):(\d+)$", dockerfile(), re.MULTILINE) == [("10001", "10001")]
        assert "STOPSIGNAL SIGTERM" in dockerfile()
        assert "HEALTHCHECK" in dockerfile()

    def test_base_and_dependencies_are_pinned(self) -> None:
        assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", dockerfile(), re.MULTILINE)
        assert set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)) == {"python:${PYTHON}"}
        assert "--require-hashes" in dockerfile()

    def test_the_context_holds_what_is_copied_and_no_more(self) -> None:
        rules = (ROOT / ".dockerignore").read_text().split("\n")
        assert "*" in rules
        assert "**/.env*" in rules
        copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile(), re.MULTILINE)
        assert {f"!{source}" for source in copied} == {rule for rule in rules if rule.startswith("!")}

    async def test_health_check_tells_ready_from_unready(self) -> None:
        health = Health()
        app = web.Application()
        app.add_routes(ops_routes(health))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        assert await check_health(port) == 1
        health.state("ready")
        assert await check_health(port) == 0
        await runner.cleanup()
        assert await check_health(port) == 1


async def check_health(port: int) -> int:
    """The exit code of a container's health check for a service whose ops port is `port`."""
    script = DEPLOY / "healthcheck.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        script,
        env={"SERVICE": "gateway", "SONANT_OPS_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    return await process.wait()

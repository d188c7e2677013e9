"""What an operator reads where a setting, a file, the port or an engine is wrong: a line each, and an exit code."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from sonant_cli.engine_check import findings
from sonant_cli.loopback import free_ports

SONANT = (sys.executable, "-c", "from sonant_cli.main import main; main()")
SECONDS = 120.0
MODELS = """
[aliases.fast]
[[aliases.fast.upstreams]]
name = "a"
base_url = "http://127.0.0.1:1/v1"
modle = "m"
"""


class Told(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    lines: list[str]


class Operator:
    """Somebody with a shell in a directory of their own, and no variables of ours."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        [self.port] = free_ports(1)

    async def runs(self, *command: str, **variables: str) -> Told:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env={**clean, "SONANT_PORT": str(self.port), "SONANT_DATA_DIR": str(self.data), **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS):
            out, errors = await process.communicate()
        assert b"Traceback" not in errors
        return Told(process.returncode or 0, out.decode(), errors.decode().splitlines())

    async def up(self, **variables: str) -> Told:
        return await self.runs(*SONANT, "up", **variables)

    async def check(self, **variables: str) -> Told:
        return await self.runs(*SONANT, "check", **variables)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"SONANT_CONCURRENCY": "abc"}, "SONANT_CONCURRENCY: Input should be a valid integer"),
        (
            {"SONANT_LOG_URL": "http://x"},
            "SONANT_LOG_URL: expected is a URL that begins with kafka://, kafka+ssl://, redis",
        ),
        ({"SONANT_SECRET_KEYS": "short"}, "SONANT_SECRET_KEYS: a key has at least 32 characters"),
        ({"SONANT_DATA_DIR": "/dev/null"}, "SONANT_DATA_DIR: /dev/null: is not a folder; expected is a folder"),
        ({"SONANT_PORT": "web"}, "SONANT_PORT: web is no port; expected is a number from 1 to 65535"),
    ],
)
async def test_a_start_with_a_wrong_setting_ends_in_one_line(
    operator: Operator, variables: Mapping[str, str], line: str
) -> None:
    told = await operator.up(**variables)
    assert (told.code, told.out) == (os.EX_CONFIG, "")
    [only] = told.lines
    assert only.startswith(f"error: {line}")
    assert not (operator.data / "valkey").exists(), "nothing was started"


async def test_a_port_that_is_taken_is_told_by_its_variable(operator: Operator, taken_port: int) -> None:
    told = await operator.up(SONANT_PORT=str(taken_port))
    line = f"error: SONANT_PORT: port {taken_port} is taken by another program; choose another"
    assert (told.code, told.lines) == (os.EX_CONFIG, [line])


@pytest.mark.skipif(sys.platform != "linux", reason="the right is taken away by a tool of Linux")
async def test_a_port_of_root_is_told_by_its_variable(operator: Operator) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("every port is free to everybody here")
    without = (
        ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service") if not os.geteuid() else ()
    )
    told = await operator.runs(*without, *SONANT, "up", SONANT_PORT="1023")
    line = "error: SONANT_PORT: port 1023 is for root alone on this machine; choose one from 1024 on"
    assert (told.code, told.lines) == (os.EX_CONFIG, [line])


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("SONANT_OPS_PORT", "", "SONANT_OPS_PORT: port {port} is taken by another program; choose another"),
        ("SONANT_PORT", "", "SONANT_PORT: port {port} is taken by another program; choose another"),
        ("SONANT_HOST", "192.0.2.1", "SONANT_HOST: 192.0.2.1 is no address of this machine; 0.0.0.0 are all of them"),
        (
            "SONANT_OBJECTS_URL",
            "file:///dev/null/x",
            "SONANT_OBJECTS_URL: /dev/null is not a folder; expected",
        ),
        ("SONANT_OPS_HOST", "a b", "SONANT_OPS_HOST: no host of this name is known; expected is an address of this"),
    ],
)
async def test_a_service_alone_tells_of_an_address_or_a_folder_that_it_cannot_use(
    operator: Operator, taken_port: int, name: str, value: str, line: str
) -> None:
    told = await operator.runs(sys.executable, "-m", "gateway", **{name: value or str(taken_port)})
    assert told.code == os.EX_CONFIG
    [only] = told.lines
    assert only.startswith(line.format(port=taken_port))


async def test_a_service_says_what_is_wrong_in_its_models_file_and_ends_as_one_that_need_not_start_again(
    operator: Operator,
) -> None:
    (operator.home / "models.toml").write_text(MODELS)
    told = await operator.runs(sys.executable, "-m", "llm_stream", SONANT_MODELS_FILE="models.toml")
    assert told.code == os.EX_CONFIG
    assert told.lines == [
        "SONANT_MODELS_FILE: models.toml: alias fast, upstream 1, model: is missing",
        "SONANT_MODELS_FILE: models.toml: alias fast, upstream 1, modle: no such key; is model meant?",
    ]


async def test_a_check_tells_everything_that_is_wrong_and_starts_nothing(operator: Operator, taken_port: int) -> None:
    told = await operator.check(
        SONANT_PORT=str(taken_port),
        SONANT_DATA_DIR="/dev/null/data",
        SONANT_CONCURENCY="5",
        SONANT_ACME_KEY="named by the organisations",
        SONANT_HUME_ORGANIZATIONS="acme=SONANT_ACME_KEY,acme",
        SONANT_FSYNC="sometimes",
        SONANT_MODELS_FILE="missing.toml",
        SONANT_PYTHON_TOOLS="no-such-tool",
    )
    assert (told.code, told.out) == (os.EX_CONFIG, "")
    assert told.lines == [
        "warning: SONANT_CONCURENCY is set, and nothing reads it; is SONANT_CONCURRENCY meant?",
        "SONANT_DATA_DIR: /dev/null/data: is not a folder; expected is a folder of yours that can be written",
        "SONANT_FSYNC: sometimes is unknown; expected is everysec or always",
        f"SONANT_PORT: port {taken_port} is taken by another program; choose another",
        "SONANT_HUME_ORGANIZATIONS: names acme twice.",
        "SONANT_MODELS_FILE: missing.toml: No such file or directory",
        "SONANT_PYTHON_TOOLS: 0 installed packages have a tool 'no-such-tool' in the group sonant.tools",
    ]


async def test_a_check_asks_the_engines_that_are_given_by_url(
    operator: Operator, valkey_url: str, postgres_url: str
) -> None:
    # As a shell or a unit file may leave them: as if they were not set.
    empty = {"SONANT_SECRET_KEYS": "", "SONANT_DRAIN_SECONDS": "", "SONANT_FSYNC": ""}
    told = await operator.check(
        **empty, SONANT_LOG_URL=valkey_url, SONANT_REDIS_URL=valkey_url, SONANT_DATABASE_URL=postgres_url
    )
    assert (told.code, told.lines) == (0, [])
    assert "all is well" in told.out
    assert not operator.data.exists()


async def test_a_start_is_refused_by_an_engine_that_does_not_let_us_in(
    operator: Operator, valkey_url: str, postgres_url: str, taken_port: int
) -> None:
    secret = "a-wrong-password"
    host = urlsplit(postgres_url).netloc.rpartition("@")[2]
    told = await operator.up(
        SONANT_LOG_URL=f"redis://:{secret}@{urlsplit(valkey_url).netloc.rpartition('@')[2]}",
        SONANT_REDIS_URL="redis://no-such-host.invalid:6379",
        SONANT_DATABASE_URL=f"postgresql://postgres:{secret}@{host}/postgres",
    )
    assert told.code == os.EX_UNAVAILABLE
    [line] = told.lines
    assert line.startswith("error: SONANT_LOG_URL: refuses us: ")
    assert "; SONANT_DATABASE_URL: refuses us: password authentication failed" in line
    assert secret not in line


async def test_whoever_answers_and_is_no_engine_is_told_and_may_still_become_one() -> None:
    urls = {"SONANT_LOG_URL": "kafka", "SONANT_REDIS_URL": "redis", "SONANT_DATABASE_URL": "postgresql"}

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await findings({name: f"{scheme}://127.0.0.1:{port}" for name, scheme in urls.items()})
    assert [finding.text.partition(":")[0] for finding in found] == list(urls)
    assert not any(finding.lasting for finding in found)

"""However a process ends or forks, what `log` had returned for arrives."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import KEY, IngestServer, hanging, ingest_server
from tests.support.sonant import ROOT, free_port
from tests.support.waiting import eventually

PROGRAM = Path(__file__).with_name("logging_program.py")


SOURCES = ROOT / "libs" / "huggingplace" / "src"
# Other Pythons that the SDK is for, where the machine has them.
PYTHONS = ("3.9", "3.10", "3.12", "3.13", "3.14")


@contextmanager
def program(
    how: str, server: IngestServer, tmp_path: Path, python: str = sys.executable, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    env = {
        "PYTHONPATH": str(SOURCES),
        **os.environ,
        "HUGGINGPLACE_API_KEY": KEY,
        "HUGGINGPLACE_ORG_ID": "acme",
        "HUGGINGPLACE_BASE_URL": server.url,
        "HUGGINGPLACE_SPOOL_DIR": str(tmp_path / "spool"),
        "HUGGINGPLACE_FLUSH_INTERVAL": "0.05",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
        **settings,
    }
    process = subprocess.Popen([python, str(PROGRAM), how], env=env, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(output: bytes) -> set[str]:
    """The ids that were printed; one that was cut off by the end was not logged as far as anybody knows."""
    return {line.decode() for line in output.split(b"\n")[:-1]}


@pytest.mark.parametrize("how", ["log_some_and_end", "end_by_exception", "log_in_forks", "log_in_a_pool"])
async def test_all_is_delivered_when_a_process_ends(
    server: IngestServer, make_client: MakeClient, tmp_path: Path, how: str
) -> None:
    with program(how, server, tmp_path) as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == (3 if how == "end_by_exception" else 0)
    logged = said(output)
    assert len(logged) >= 50
    # The workers of a pool are ended by a signal: what they had not sent is in the spool.
    make_client()
    await eventually(lambda: logged <= set(server.items))
    if how != "log_in_a_pool":
        assert all(count == 1 for count in server.seen.values())


@pytest.mark.parametrize("version", PYTHONS)
def test_other_pythons_log_in_forks_and_threads(server: IngestServer, tmp_path: Path, version: str) -> None:
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    with program("log_in_forks", server, tmp_path, python) as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert said(output) <= set(server.items)


def _interpreter(version: str) -> str | None:
    """One that runs, on the path or of pyenv; names on the path may stand for nothing there."""
    on_path = [found] if (found := shutil.which(f"python{version}")) else []
    for python in (*on_path, *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))):
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return None


async def test_kill_9_in_the_middle_of_batches_loses_nothing(
    server: IngestServer, make_client: MakeClient, tmp_path: Path
) -> None:
    server.mood = hanging(0.02)
    logged: set[str] = set()
    for run in range(1, 4):
        with program("log_for_ever", server, tmp_path) as process:
            await eventually(functools.partial(_asked, server, 3 * run), timeout=30)
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate(timeout=30)
        logged |= said(output)
    server.mood = None
    client = make_client(batch_items=1000)
    await eventually(lambda: logged <= set(server.items), timeout=60)
    assert client.close(5)
    # Everything was delivered, and the disk is free again.
    assert not list(tmp_path.rglob("*.segment"))


async def test_kill_9_while_the_server_is_away_loses_nothing(tmp_path: Path, make_client: MakeClient) -> None:
    with ingest_server() as server:
        pass
    with program("log_and_wait", server, tmp_path) as process:
        assert process.stdout
        logged = {process.stdout.readline().decode().strip() for _ in range(50)}
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with ingest_server(server.port) as server:
        make_client(base_url=server.url)
        await eventually(lambda: logged <= set(server.items))
        assert set(server.seen.values()) == {1}


async def test_sigterm_without_a_handler_loses_nothing(
    server: IngestServer, make_client: MakeClient, tmp_path: Path
) -> None:
    with program("end_by_sigterm", server, tmp_path, HUGGINGPLACE_FLUSH_INTERVAL="60") as process:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGTERM
    logged = said(output)
    assert len(logged) == 50
    make_client()
    await eventually(lambda: logged <= set(server.items))


def test_a_process_ends_in_time_when_the_server_hangs(server: IngestServer, tmp_path: Path) -> None:
    server.mood = hanging(30)
    with program("log_some_and_end", server, tmp_path, HUGGINGPLACE_EXIT_TIMEOUT="0.5") as process:
        assert process.stdout
        for _ in range(50):
            process.stdout.readline()
        began = time.monotonic()
        process.wait(20)
        assert time.monotonic() - began < 5


async def test_a_living_process_takes_over_what_another_left(
    server: IngestServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingplace.outgoing.ADOPT_SECONDS", 0.1)
    client = make_client()
    client.log(user_prompt="mine")
    with ingest_server() as away:
        pass
    with program("log_and_wait", away, tmp_path) as process:
        assert process.stdout
        logged = {process.stdout.readline().decode().strip() for _ in range(50)}
        # Same spool, as if the address were the same: the directory is by destination.
        [left] = [path for path in (tmp_path / "spool").iterdir() if path.name != client.options.destination]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    for segment in left.glob("*.segment"):
        segment.rename(tmp_path / "spool" / client.options.destination / segment.name)
    await eventually(lambda: logged <= set(server.items))
    await eventually(lambda: client.counters()["replayed"] == 50)
    await eventually(lambda: client.counters()["delivered"] == 1)


async def test_workers_of_gunicorn_log_from_a_client_made_before_the_fork(
    server: IngestServer, make_client: MakeClient, tmp_path: Path
) -> None:
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "tests.integration.huggingplace.wsgi_app:application", "--preload"),
        *("--workers", "3", "--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(tmp_path), "--no-control-socket"),
    ]
    env = {
        **os.environ,
        "HUGGINGPLACE_API_KEY": KEY,
        "HUGGINGPLACE_ORG_ID": "acme",
        "HUGGINGPLACE_BASE_URL": server.url,
        "HUGGINGPLACE_SPOOL_DIR": str(tmp_path / "spool"),
        "HUGGINGPLACE_FLUSH_INTERVAL": "0.05",
    }
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE)
    logged: dict[str, int] = {}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            await eventually(functools.partial(_answers, http), timeout=30)

            def ask(number: int) -> int:
                told = http.get(f"/{number}").json()
                logged[told["id"]] = told["pid"]
                return int(told["pid"])

            # Several at once: one after the other, a quick worker may answer all of them.
            with ThreadPoolExecutor(3) as callers:

                def three_answer() -> bool:
                    list(callers.map(ask, range(25)))
                    return len(set(logged.values())) >= 3

                await eventually(three_answer, timeout=30)
                os.kill(ask(25), signal.SIGKILL)
                list(callers.map(ask, range(26, 100)))
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    make_client()
    await eventually(lambda: set(logged) <= set(server.items))
    assert b"Traceback" not in errors, errors.decode()


def _asked(server: IngestServer, times: int) -> bool:
    return len(server.requests) >= times


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/").status_code == 200
    except httpx.HTTPError:
        return False

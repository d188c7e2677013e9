"""How the supervisor paces restarts and keeps its files."""

import asyncio
import socket
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from sonant_cli.errors import CliError
from sonant_cli.logfile import LogFile, follow, tail
from sonant_cli.loopback import Ports, PortTakenError, free_ports
from sonant_cli.process import describe_exit, next_backoff
from sonant_cli.state import AlreadyRunningError, DataDir, write_private
from sonant_cli.table import gateway_port
from tests.support.waiting import eventually


def test_backoff_doubles_up_to_five_seconds_and_starts_anew_after_a_healthy_life() -> None:
    delays = [0.0]
    for _ in range(8):
        delays.append(next_backoff(delays[-1], lived=1))
    assert delays[1:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert next_backoff(5.0, lived=31) == pytest.approx(0.1)


@pytest.mark.parametrize(("code", "text"), [(3, "exit code 3"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_an_exit_status_is_told_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_a_log_is_renamed_at_its_limit_and_bounded_in_number(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    log = LogFile(path, limit=50, kept=2)
    for number in range(100):
        log.write(f"line number {number:03d}\n".encode())
    log.close()
    files = [path, tmp_path / "gateway.log.1", tmp_path / "gateway.log.2"]
    assert sorted(tmp_path.iterdir()) == files
    written = "".join(file.read_text() for file in reversed(files))
    assert written == "".join(f"line number {number:03d}\n" for number in range(100))[-len(written) :]
    assert all(50 <= file.stat().st_size < 50 + 16 for file in files[1:])


def test_a_log_that_was_too_long_already_moves_aside(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    path.write_text("old line\n" * 10)
    log = LogFile(path, limit=50)
    log.note("began")
    log.close()
    assert path.read_text() == "supervisor: began\n"
    assert (tmp_path / "gateway.log.1").read_text() == "old line\n" * 10


def test_a_log_whose_folder_is_gone_costs_its_lines_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = LogFile(folder / "gateway.log")
    log.write(b"nowhere\n")
    folder.mkdir()
    log.write(b"here\n")
    log.close()
    told = "supervisor: 8 bytes of this log could not be written and are lost"
    assert tail(log.path) == [told, "here"]


async def test_a_log_is_followed_over_its_renames(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=50)
    seen: list[str] = []
    following = asyncio.create_task(follow({"gateway": log.path}, lambda _, line: seen.append(line), pause=0.001))
    # It begins at the end of what there is.
    await asyncio.sleep(0)
    expected = [f"line number {number:03d}" for number in range(20)]
    for line in expected:
        log.write(f"{line}\n".encode())
        await eventually(partial(seen.__contains__, line))
    following.cancel()
    await asyncio.wait([following])
    log.close()
    assert seen == expected


def test_a_held_port_is_open_to_its_server_and_to_nobody_else() -> None:
    with Ports() as ports, Ports() as others:
        port = ports.free()
        with pytest.raises(OSError, match="in use"), socket.socket() as stranger:
            stranger.bind(("127.0.0.1", port))
        for _ in range(2):
            # As long as the supervisor runs: also between two lives of the server.
            with socket.create_server(("127.0.0.1", port)):
                with pytest.raises(PortTakenError):
                    others.hold(port)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))


def test_a_port_on_which_old_connections_linger_can_be_held(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as server:
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = server.accept()
            served.close()
            assert client.recv(1) == b""
    with Ports() as ports:
        assert ports.hold(port) == port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ports are not held")
def test_a_held_port_is_given_to_no_outgoing_connection() -> None:
    """What one start in 25 died of: a port was free when chosen, and another connection had it a second later."""
    with Ports() as ports, socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        held = {ports.hold(port) for port in range(first + 1000, first + 1400) if _is_free(port)}
        with ExitStack() as stack:
            taken = {
                stack.enter_context(socket.create_connection(server.getsockname())).getsockname()[1]
                for _ in range(2000)
            }
        assert not held & taken


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    assert tail(log) == []
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert tail(log, lines=2) == ["line 98", "line 99"]


def test_private_files_are_replaced_whole_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "urls.json"
    write_private(path, "a long first text")
    write_private(path, "short")
    assert path.read_text() == "short"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_made_once_per_name(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert data.secret("valkey") == data.secret("valkey") != data.secret("postgres")


def test_the_directory_belongs_to_one_supervisor_at_a_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert not data.is_running()
    with data.lock():
        assert data.is_running()
        with pytest.raises(AlreadyRunningError), data.lock():
            pass
    assert not data.is_running()


def test_an_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert data.read_run() == {}
    data.run_file.write_text('{"url": "http')
    assert data.read_run() == {}


@pytest.mark.parametrize("given", ["web", "0", "70000", "-1"])
def test_a_wrong_port_is_refused_by_name(given: str) -> None:
    with pytest.raises(CliError, match="SONANT_PORT"):
        gateway_port({"SONANT_PORT": given})

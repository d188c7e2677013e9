"""How the supervisor paces restarts and keeps its files."""

from pathlib import Path

import pytest

from sonant_cli.errors import CliError
from sonant_cli.logfile import rotate, tail
from sonant_cli.process import describe_exit, next_backoff
from sonant_cli.state import AlreadyRunningError, DataDir, write_private
from sonant_cli.table import gateway_port


def test_backoff_doubles_up_to_five_seconds_and_starts_anew_after_a_healthy_life() -> None:
    delays = [0.0]
    for _ in range(8):
        delays.append(next_backoff(delays[-1], lived=1))
    assert delays[1:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert next_backoff(5.0, lived=31) == pytest.approx(0.1)


@pytest.mark.parametrize(("code", "text"), [(3, "exit code 3"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_an_exit_status_is_told_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_a_log_beyond_its_limit_moves_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with log.open("a") as writer:
        writer.write("old line\n" * 10)
        writer.flush()
        rotate(log, limit=50)
        writer.write("new line\n")
    assert log.read_text() == "new line\n"
    assert (tmp_path / "gateway.log.1").read_text() == "old line\n" * 10


def test_a_log_within_its_limit_stays(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    rotate(log, limit=50)
    log.write_text("line\n")
    rotate(log, limit=50)
    assert log.read_text() == "line\n"


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

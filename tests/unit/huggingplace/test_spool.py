"""The files of the spool: torn, spoiled, shared, full; what is whole is read, and only once."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies

from huggingplace import QueueFullError, SpoolError
from huggingplace.spool import SEGMENT_BYTES, Spool
from huggingplace.spool_segment import HEADER_BYTES, Segment, line_of


def open_spool(directory: Path, **options: object) -> Spool:
    return Spool(directory, **{"max_bytes": 2**30, "fsync": "never", **options})  # type: ignore[arg-type]


def leave(spool: Spool) -> None:
    """As a process that is killed: its locks go, and its files stay."""
    spool.abandon()


def rest(spool: Spool) -> list[bytes]:
    spool.adopt()
    found: list[bytes] = []
    while records := spool.take(7, 100_000):
        found += [record.body for record in records]
        spool.finish(records)
    return found


def bodies(number: int) -> list[bytes]:
    return [b'{"id":"%d"}' % each for each in range(number)]


def kept(directory: Path, records: list[bytes]) -> Path:
    """The one file of a process that is gone."""
    spool = open_spool(directory)
    for body in records:
        spool.append(body)
    leave(spool)
    [path] = directory.glob("*.segment")
    return path


def test_what_is_appended_is_taken_once_in_order_and_deleted(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for body in bodies(20):
        spool.append(body)
    assert rest(spool) == bodies(20)
    spool.append(b"{}")
    assert rest(spool) == [b"{}"]
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_finished_is_taken_again_by_the_next(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for body in bodies(10):
        spool.append(body)
    records = spool.take(8, 10_000)
    # The third is still on its way: whoever comes next begins with it.
    spool.finish([*records[:2], *records[3:6]])
    leave(spool)
    assert rest(open_spool(tmp_path)) == bodies(10)[2:]


def test_a_living_process_keeps_its_files(tmp_path: Path) -> None:
    alive, other = open_spool(tmp_path), open_spool(tmp_path)
    alive.append(b"{}")
    assert rest(other) == []
    assert rest(alive) == [b"{}"]


@given(cut=strategies.integers(0, 400), records=strategies.integers(1, 12))
def test_a_file_cut_off_anywhere_gives_every_whole_record(
    tmp_path_factory: pytest.TempPathFactory, cut: int, records: int
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    path = kept(directory, bodies(records))
    size = max(path.stat().st_size - cut, 0)
    os.truncate(path, size)
    lengths = [len(line_of(body)) for body in bodies(records)]
    whole = sum(HEADER_BYTES + sum(lengths[: number + 1]) <= size for number in range(records))
    assert rest(open_spool(directory)) == bodies(whole)
    assert list(directory.iterdir()) == []


@given(at=strategies.integers(0, 300), byte=strategies.binary(min_size=1, max_size=1))
def test_a_spoiled_byte_costs_at_most_two_records(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: bytes
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    path = kept(directory, bodies(10))
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte[0]
    path.write_bytes(content)
    found = rest(open_spool(directory))
    # Two, where the newline between them is gone.
    assert len(found) >= 8
    assert set(found) <= set(bodies(10))


def test_zeros_as_a_lost_power_leaves_them_are_skipped(tmp_path: Path) -> None:
    path = kept(tmp_path, bodies(3))
    with path.open("ab") as file:
        file.write(b"\0" * 2**20)
    assert rest(open_spool(tmp_path)) == bodies(3)


@pytest.mark.parametrize(
    "content", [b"", b"HPSPOOL1", b"x" * 5000, b"\n" * 5000], ids=["empty", "short", "long", "lines"]
)
def test_files_of_somebody_else_are_cleared_away(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.segment").write_bytes(content)
    assert rest(open_spool(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_was_interrupted_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, real = open_spool(tmp_path), os.pwrite
    spool.append(b'{"id":"first"}')

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        if b"interrupted" in data:
            # A handler of a signal logs, and ends by raising.
            spool.append(b'{"id":"of the handler"}')
            raise KeyboardInterrupt
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spool.append(b'{"id":"interrupted"}')
    spool.append(b'{"id":"last"}')
    assert rest(spool) == [b'{"id":"first"}', b'{"id":"of the handler"}', b'{"id":"last"}']


def test_links_and_directories_with_the_name_of_a_segment_are_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("do not touch")
    spool_directory = tmp_path / "spool"
    spool_directory.mkdir()
    (spool_directory / "a.segment").symlink_to(precious)
    (spool_directory / "b.segment").mkdir()
    os.mkfifo(spool_directory / "c.segment")
    assert rest(open_spool(spool_directory)) == []
    assert precious.read_text() == "do not touch"


def test_a_new_file_is_never_lost_to_one_that_tidies_up(tmp_path: Path) -> None:
    stop = threading.Event()

    def tidy() -> None:
        while not stop.is_set():
            spool = open_spool(tmp_path)
            spool.adopt()
            spool.close()

    thread = threading.Thread(target=tidy)
    thread.start()
    try:
        for _ in range(300):
            segment = Segment.create(tmp_path)
            segment.append(line_of(b"{}"))
            assert segment.path.exists()
            segment.remove()
    finally:
        stop.set()
        thread.join()


def test_it_rolls_over_and_deletes_what_is_sent(tmp_path: Path) -> None:
    spool, body = open_spool(tmp_path), b'{"x":"' + b"y" * 2**20 + b'"}'
    for _ in range(10):
        spool.append(body)
    assert len(list(tmp_path.glob("*.segment"))) == 4
    assert rest(spool) == [body] * 10
    assert len(list(tmp_path.glob("*.segment"))) == 1
    assert spool.bytes <= SEGMENT_BYTES


def test_its_bound_is_for_all_processes(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    for body in bodies(100):
        first.append(body)
    second = open_spool(tmp_path, max_bytes=first.bytes + 200)
    second.append(b"{}")
    with pytest.raises(QueueFullError):
        second.append(b"x" * 200)


@pytest.mark.parametrize("fsync", ["never", "interval", "always"])
def test_it_is_synced_as_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    spool = open_spool(tmp_path, fsync=fsync)
    for body in bodies(3):
        spool.append(body)
    spool.sync()
    spool.sync()
    assert len(synced) == {"never": 0, "interval": 1, "always": 3}[fsync]


def test_a_directory_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    spool.append(b"{}")
    assert rest(spool) == [b"{}"]


def test_what_is_kept_is_for_its_user_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    spool.append(b"{}")
    [path] = (tmp_path / "spool").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def _a_file(path: Path) -> None:
    path.write_text("")


def _a_link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def _of_another(path: Path) -> None:
    path.mkdir()
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("make", [_a_file, _a_link, _of_another])
def test_a_directory_that_is_not_its_own_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    try:
        make(tmp_path / "spool")
    except PermissionError:
        pytest.skip("only root gives directories away")
    with pytest.raises(SpoolError):
        open_spool(tmp_path / "spool")

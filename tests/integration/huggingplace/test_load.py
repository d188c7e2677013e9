"""Under load: many threads, interrupted code, a log that is far ahead of its server; nothing is lost, memory stays."""

import os
import signal
import threading
import time
from types import FrameType

import psutil
import pytest

from huggingplace import HuggingPlaceError, QueueFullError
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import IngestServer, always, hanging, refusal

MIB = 1024 * 1024


def test_a_hundred_threads(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client(batch_items=500)
    logged: list[set[str]] = [set() for _ in range(100)]

    def log(mine: set[str]) -> None:
        for number in range(50):
            mine.add(client.log(user_prompt=str(number)))

    threads = [threading.Thread(target=log, args=(mine,)) for mine in logged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(30)
    ids = set().union(*logged)
    assert len(ids) == 5000
    assert set(server.items) == ids
    assert set(server.seen.values()) == {1}


def test_handlers_of_signals_may_log_wherever_they_interrupt(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client(batch_items=20)
    ids: set[str] = set()

    def log(_signal: int, _frame: FrameType | None) -> None:
        ids.add(client.log(user_prompt="from a handler"))
        client.flush(0.0)
        # The next one comes when this one is over.
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003)

    before = signal.signal(signal.SIGVTALRM, log)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            ids.add(client.log(user_prompt="interrupted", response="x" * 500))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert client.flush(30)
    assert set(server.items) == ids
    assert client.counters()["dropped"] == 0


def test_memory_is_bounded_while_a_server_is_away(server: IngestServer, make_client: MakeClient) -> None:
    server.mood = always(refusal(503, "Later."))
    client = make_client()
    process, text = psutil.Process(), "x" * 100_000
    client.log(user_prompt=text)
    before = process.memory_info().rss
    for _ in range(1000):
        client.log(user_prompt=text)
    # 100 MB were logged.
    assert process.memory_info().rss - before < 30 * MIB
    assert client.counters()["waiting"] == 1001
    server.mood = None
    assert client.flush(60)
    assert process.memory_info().rss - before < 150 * MIB, "the server here keeps them"
    assert len(server.items) == 1001


@pytest.mark.parametrize("spool", [True, False])
def test_past_its_bound_new_ones_are_dropped_and_told(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError], spool: bool
) -> None:
    server.mood = always(refusal(503, "Later."))
    client = make_client(spool=spool, max_spool_bytes=MIB, max_memory_bytes=MIB)
    ids = [client.log(user_prompt="x" * 10_000) for _ in range(200)]
    counters = client.counters()
    assert counters["spool_bytes"] + counters["memory_bytes"] <= MIB
    assert counters["dropped"] > 90
    assert counters["logged"] == 200 == counters["waiting"] + counters["dropped"]
    assert any(isinstance(error, QueueFullError) for error in told)
    server.mood = None
    assert client.flush(20)
    # The oldest were kept: what `log` had kept is never given up for something newer.
    assert set(server.items) == set(ids[: len(server.items)])
    assert len(server.items) == counters["waiting"]


def test_a_disk_that_cannot_be_written_to_is_told_and_memory_is_used(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    first = client.log(user_prompt="on the disk")
    real = os.pwrite

    def full(_fd: int, _data: bytes, _offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    server.mood = hanging(0.2)
    ids = {client.log(user_prompt=str(number)) for number in range(50)}
    assert [type(error).__name__ for error in told].count("SpoolError") >= 1
    monkeypatch.setattr(os, "pwrite", real)
    ids |= {first, client.log(user_prompt="on the disk again")}
    assert client.flush(10)
    assert set(server.items) == ids

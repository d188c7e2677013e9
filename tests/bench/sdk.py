"""What `log` of the Python SDK costs its caller: `python -m tests.bench.sdk`.

The server is a process of its own that answers as a Sonant does and stores nothing, so that the SDK alone is measured.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from huggingplace import HuggingPlace
from tests.bench.load import percentile
from tests.support.ingest_server import KEY, ingest_server
from tests.support.sonant import ROOT

TYPICAL: dict[str, Any] = {
    "user_prompt": "How did the sales of the northern region develop in the last quarter? " * 3,
    "response": "They rose by four percent, mostly in May. " * 10,
    "metadata": {"sessionId": "123", "recommendationId": "r-1"},
    "user_metadata": {"email": "user@example.com"},
    "llm_model": "gpt-4o",
    "prompt_tokens": 120,
    "completion_tokens": 90,
}
AWAY = "http://127.0.0.1:9"
MEBIBYTE = 1024 * 1024


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.ingest_server"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


@contextmanager
def client(url: str, **settings: Any) -> Iterator[HuggingPlace]:
    with tempfile.TemporaryDirectory(prefix="huggingplace-bench-") as spool:
        made = HuggingPlace(KEY, "bench", base_url=url, spool_dir=spool, on_error=lambda error: None, **settings)
        yield made
        made.close(0.5)


def timed(act: Callable[[], object], times: int, *, pause: float = 0.0) -> list[float]:
    """Microseconds of each call, a tenth of them to warm up; `pause` seconds apart, as a server logs."""
    for _ in range(times // 10):
        act()
    found = []
    for _ in range(times):
        time.sleep(pause)
        began = time.perf_counter()
        act()
        found.append((time.perf_counter() - began) * 1e6)
    return found


def threaded(made: HuggingPlace, threads: int, times: int) -> list[float]:
    """The same from many threads at once; what they wait for one another is in it."""
    found: list[list[float]] = [[] for _ in range(threads)]

    def run(mine: list[float]) -> None:
        mine += timed(lambda: made.log(**TYPICAL), times)

    running = [threading.Thread(target=run, args=(mine,)) for mine in found]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return [each for mine in found for each in mine]


def row(name: str, times: Sequence[float]) -> str:
    p50, p99, p999 = (percentile(list(times), share) for share in (0.5, 0.99, 0.999))
    return f"| {name} | {len(times):,} | {p50:,.0f} | {p99:,.0f} | {p999:,.0f} |"


def costs(url: str, times: int) -> Iterator[str]:
    yield "| `log` | calls | p50 µs | p99 µs | p99.9 µs |"
    yield "|---|---|---|---|---|"
    for name, where, settings in (
        ("typical, 0.7 KB, one after the other", url, {}),
        ("the server is away", AWAY, {}),
        ("without a spool", url, {"spool": False, "max_memory_bytes": 64 * MEBIBYTE}),
        ("`fsync=always`", url, {"fsync": "always"}),
        ("off", url, {"enabled": False}),
    ):
        with client(where, **settings) as made:
            number = times // 50 if settings.get("fsync") == "always" else times
            yield row(name, timed(functools.partial(made.log, **TYPICAL), number))
    for name, size in (("10 KB", 10_000), ("100 KB", 100_000), ("1 MB", 1_000_000)):
        with client(url) as made:
            text = 'Some words and a "quote".\n' * (size // 26)
            yield row(name, timed(functools.partial(made.log, user_prompt=text, response="x"), times // 50))
    with client(url) as made:
        yield row("100 threads at once", threaded(made, 100, times // 100))
    with client(url) as made:
        yield row("typical, 1 ms apart", timed(lambda: made.log(**TYPICAL), times // 4, pause=0.001))
    with client(url) as made:
        session = made.start_session()

        def turn() -> None:
            with session.step("retrieve"), session.step("rank"):
                pass
            session.log(**TYPICAL)

        yield row("in a session, with 2 steps", timed(turn, times // 5))


def delivery(url: str, times: int) -> Iterator[str]:
    """How fast it is delivered, and what that takes of this process."""
    with client(url, batch_items=100) as made:
        process = psutil.Process()
        cpu, began = process.cpu_times(), time.perf_counter()
        for _ in range(times):
            made.log(**TYPICAL)
        logged = time.perf_counter() - began
        assert made.flush(120), "not all was delivered"
        took, after = time.perf_counter() - began, process.cpu_times()
        seconds = (after.user + after.system - cpu.user - cpu.system) * 10_000 / times
        counters = made.counters()
        yield f"{times:,} logged in {logged:.2f} s, delivered in {took:.2f} s ({times / took:,.0f}/s)"
        yield f"CPU of the program: {seconds:.2f} s per 10,000; batches: {counters['batches']:,}"
        yield f"memory: {process.memory_info().rss // MEBIBYTE} MiB resident"


def outage(seconds: float) -> Iterator[str]:
    """The network is gone for so long, while the program goes on logging; then it is back."""
    process = psutil.Process()
    with ingest_server() as before:
        port, url = before.port, before.url
    with client(url) as made:
        ids, peak, times, until = set(), 0, list[float](), time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.005)
            began = time.perf_counter()
            ids.add(made.log(**TYPICAL))
            times.append((time.perf_counter() - began) * 1e6)
            peak = max(peak, process.memory_info().rss)
        yield row(f"the network is gone for {seconds:.0f} s", times)
        held = made.counters()["memory_bytes"]
        with ingest_server(port) as back:
            began = time.monotonic()
            assert made.flush(120), "not all was delivered"
            took = time.monotonic() - began
            assert set(back.items) == ids, "what was delivered is not what was logged"
        yield f"memory: {peak // MEBIBYTE} MiB at most, of which {held} bytes wait to be sent"
        yield f"all {len(ids):,} delivered {took:.1f} s after the network was back"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20_000, help="calls of `log` for each row")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds without a network; 0 leaves that out")
    options = parser.parse_args()
    with server() as url:
        for line in (*costs(url, options.times), "", *delivery(url, options.times)):
            print(line, flush=True)
    for line in outage(options.outage) if options.outage else ():
        print(line, flush=True)
    print(f"load of the machine: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")


if __name__ == "__main__":
    main()

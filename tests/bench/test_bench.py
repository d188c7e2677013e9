"""The bench's own promises: a stream that is not whole never counts as good, and a cut stream is noticed."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import astuple, replace
from functools import partial
from math import isnan, nan
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.bench.__main__ import machine, write_json
from tests.bench.alternate import change_table, changes, read_figures
from tests.bench.budgets import aims
from tests.bench.compare import Outcome, Plan, References, Row, Side
from tests.bench.interpreter import optimisations
from tests.bench.interrupt import Listener, closed_streams
from tests.bench.load import Load, chat_request, complaint, dechunk, http_request
from tests.bench.measure import Cores
from tests.bench.reads import ReadLane
from tests.bench.relay import PATH, build_app
from tests.bench.resources import ReadRow, ResourcesPlan, ResourcesReport, provider_settings
from tests.bench.system import (
    OWN,
    BenchError,
    Checkout,
    Target,
    bare_relay,
    bench_upstream,
    provider_sandbox,
    scratch_directory,
    sonant_up,
    write_models_file,
)
from tests.bench.tables import report as table_of
from tests.bench.upstream import END, WORDS, frames, http_chunk, word
from tests.support.waiting import eventually

LOGS = ("embedded", "kafka")
OPENING = b'{"id":"x"'


def whole_reply(words: int = WORDS) -> bytes:
    return b"".join(OPENING.join(step) for step in frames(words, len(OPENING), usage=True))


def without_done(reply: bytes) -> bytes:
    return reply.replace(http_chunk(b"data: [DONE]\n\n"), b"")


def swapped(reply: bytes) -> bytes:
    third, fourth = word(3).encode(), word(4).encode()
    return reply.replace(third, b"#").replace(fourth, third).replace(b"#", fourth)


def repeated(reply: bytes) -> bytes:
    return reply.replace(word(3).encode(), word(2).encode())


def unfinished(reply: bytes) -> bytes:
    return reply.replace(b'"stop"', b'"none"')


def misframed(reply: bytes) -> bytes:
    return reply.replace(b'"stop"', b"null")


def refused(_: bytes) -> bytes:
    return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


def recut(reply: bytes) -> bytes:
    """The same payload in chunks whose borders fall anywhere."""
    head, _, body = reply.partition(b"\r\n\r\n")
    events = dechunk(body)
    pieces = [http_chunk(events[at : at + 7]) for at in range(0, len(events), 7)]
    return head + b"\r\n\r\n" + b"".join(pieces) + END


@pytest.mark.parametrize("cut", [bytes, recut], ids=["as sent", "other chunk borders"])
def test_a_whole_answer_is_accepted(cut: Callable[[bytes], bytes]) -> None:
    assert complaint(cut(whole_reply())) is None


@pytest.mark.parametrize(
    "spoil", [without_done, swapped, repeated, unfinished, misframed, refused], ids=lambda f: f.__name__
)
def test_a_spoilt_answer_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    assert complaint(spoil(whole_reply()))


def test_an_answer_with_too_few_words_is_refused() -> None:
    assert complaint(whole_reply(WORDS - 1))


async def test_the_closed_loop_completes_streams_against_the_upstream() -> None:
    with bench_upstream() as target:
        request = chat_request("bench", "/v1/chat/completions", target.key, target.model, "hello")
        report = await Load(target.url, 5, request).run(warmup=0.1, seconds=0.5)
    assert report.completed
    assert report.failed == 0


async def test_a_stream_is_whole_through_the_bare_relay() -> None:
    with bench_upstream() as upstream, bare_relay(upstream) as target:
        request = chat_request("bench", "/v1/chat/completions", target.key, target.model, "hello")
        report = await Load(target.url, 5, request).run(warmup=0.1, seconds=0.5)
    assert report.completed
    assert report.failed == 0, report.reasons


async def test_the_bare_relay_forwards_every_byte() -> None:
    asked, answered = os.urandom(300_000), os.urandom(300_000)
    async with echo(asked, answered) as upstream, relay_to(upstream) as url, ClientSession() as session:
        async with session.post(url + PATH, data=asked, headers={"Authorization": "Bearer k"}) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (418, "text/odd")
            assert await answer.read() == answered


async def test_a_client_that_leaves_the_bare_relay_is_gone_for_the_upstream_too() -> None:
    with bench_upstream() as upstream, bare_relay(upstream) as target:
        listener = await open_stream(target, "words:400 marker:left-the-relay")
        await asyncio.wait_for(listener.heard, 5)
        listener.transport.abort()
        closed: Callable[[], bool | Awaitable[bool]] = partial(is_closed, upstream, "left-the-relay")
        await eventually(closed)


def test_streams_and_resources_are_measured_on_a_running_system() -> None:
    chat = Plan(streams=[2], seconds=1.0, warmup=0.2, rounds=1, stops=2)
    plan = ResourcesPlan(readers=(1, 3), seconds=1.0, warmup=0.2, stampede=20, rounds=2, switches=6)
    with ExitStack() as stack:
        scratch, provider = stack.enter_context(scratch_directory()), stack.enter_context(provider_sandbox())
        upstream = stack.enter_context(bench_upstream())
        relay = stack.enter_context(bare_relay(upstream))
        models_file = write_models_file(scratch / "models.toml", upstream.url)
        with sonant_up(scratch / "data", models_file, None, provider_settings(provider)) as sonant:
            outcome = Outcome("embedded", sonant.start_seconds, {})
            chat.run(outcome, sonant.target, References(upstream, relay), {}, scratch / "data")
            report = plan.run("embedded", sonant.target, scratch / "data", models_file, provider)
    assert outcome.failed == 0, outcome.reasons
    (row,) = outcome.rows
    assert 0 <= row.cores.idle + row.cores.stolen < row.cores.total
    assert all(side.rate > 0 for side in row.sides.values())
    assert row.ratios.cpu == pytest.approx(row.ours.budgeted_cpu / row.relay.cpu["relay"])
    assert list(row.stages) == ["taken from the log", "upstream asked", "first token", "finished"]
    # The stages lie within what the client sees, and the upstream's 20 ms and nineteen times 5 ms within theirs.
    assert 0 < row.stages["taken from the log"][0] < row.ours.first_p50
    assert 20 <= row.stages["first token"][0] + 1 < 95 <= row.stages["finished"][0] + 1
    assert report.failed == 0, report.reasons
    assert [row.readers for row in report.reads] == [1, 3, 1, 3]
    assert all(row.rate > 0 and "gateway" in row.cpu for row in report.reads)
    assert [stampede.calls for stampede in report.stampedes] == [1, 1]
    (way,) = report.propagation
    assert set(way.each) == {"gateway-0", "gateway-1", "llm-stream-0"}
    assert 0 < way.since_sent.p50 <= way.since_sent.p99 <= way.since_sent.most
    table = table_of(replace(outcome, resources=report))
    assert "ours to the bare relay" in table
    assert f"host at load 2: took {row.cores.stolen_share * 100:.1f} %" in table
    assert "received to taken from the log" in table
    assert "last replica, since sent" in table


@pytest.mark.parametrize(
    ("arguments", "flags", "built"),
    [
        ("'--prefix=/opt' '--enable-optimizations' '--with-lto'", "-O3", "built with PGO, with LTO"),
        ("'--prefix=/opt' '--with-lto=no'", "-O3", "built without PGO, without LTO"),
        ("'--prefix=/opt'", "-O3 -fprofile-use -flto=auto", "built with PGO, with LTO"),
        ("'--prefix=/usr' '--enable-shared'", "-O2", "built by a distribution, which does not record"),
    ],
)
def test_the_optimisations_of_an_interpreter_are_read_from_its_record(arguments: str, flags: str, built: str) -> None:
    assert optimisations(arguments, flags).startswith(built)


def test_the_head_of_a_report_names_the_interpreter() -> None:
    assert f"{platform.python_implementation()} {platform.python_version()}" in machine(OWN)["interpreter"]


@pytest.mark.parametrize(
    ("stolen", "host"), [(0.03, "quiet"), (0.04, "not quiet"), (nan, "the system does not tell")], ids=str
)
def test_a_host_is_quiet_while_it_takes_less_than_its_share(stolen: float, host: str) -> None:
    assert Cores(total=2.0, idle=1.0, stolen=stolen).host.startswith(host)


def test_what_neither_the_bench_nor_the_host_used_was_used_by_others() -> None:
    assert Cores(total=4.0, idle=1.0, stolen=0.5).less(known=2.0).others_share == 0.125


def side(cpu: dict[str, float], rate: float, first: float) -> Side:
    return Side(first, first, rate, cpu, Cores(2.0, 1.0, 0.0), failed=0)


def test_ours_is_told_in_multiples_of_the_relay_and_the_aims_depend_on_the_log() -> None:
    ours = side({"gateway": 0.6, "llm-stream": 0.5, "valkey": 0.1, "postgres": 9.0}, 900.0, 90.0)
    row = Row(200, side({}, 1500.0, 20.0), side({"relay": 0.75, "upstream": 9.0}, 1200.0, 45.0), ours, {})
    assert astuple(row.ratios) == pytest.approx((1.6, 0.75, 2.0))
    verdicts = {log: {aim.what: aim.verdict for aim in aims(Outcome(log, 12.0, {}, [row]))} for log in LOGS}
    for what in ("CPU at 200, as a multiple of the bare relay's", "streams/s at 200", "start to ready, not the first"):
        assert [verdicts[log][what] for log in LOGS] == ["missed", "ok"]


def test_a_load_that_completed_nothing_has_no_ratio() -> None:
    row = Row(1, side({}, 0.0, nan), side({"relay": nan}, 0.0, nan), side({"gateway": nan}, 0.0, nan), {})
    assert all(map(isnan, astuple(row.ratios)))


def test_two_checkouts_are_compared_by_the_medians_of_their_rounds(tmp_path: Path) -> None:
    before, after = ([run_of(tmp_path, cpu) for cpu in used] for used in ([2.0, 2.2, 1.8], [1.0, 1.1, 1.2]))
    found = changes(before, after)
    cpu = found["embedded, 200 streams: CPU, multiple of the relay's"]
    assert (cpu.before, cpu.after, round(cpu.percent)) == (2.0, 1.1, -45)
    assert [round(change) for change in cpu.each] == [-50, -50, -33]
    lines = change_table(found).splitlines()
    assert [line.partition("  ")[0] for line in lines[2:]] == list(before[0])
    assert "-45.0" in lines[2]
    assert "-50.0 to -33.3" in lines[2]


def run_of(directory: Path, cpu: float) -> dict[str, float]:
    """The figures of a run whose gateway used so much, written and read as the bench does it."""
    row = Row(200, side({}, 9.0, 20.0), side({"relay": 1.0}, 9.0, 20.0), side({"gateway": cpu}, 9.0, 20.0), {})
    read = ReadRow("GET /v1/active", 50, 1.0, 2.0, 3000.0, {}, stolen=0.0, failed=0)
    outcome = Outcome("embedded", nan, {}, [row], resources=ResourcesReport([read]))
    write_json(directory / "bench.json", {}, [outcome])
    figures, lost = read_figures(directory / "bench.json")
    assert lost == [0.0]
    assert len(figures) == 4
    return figures


def test_a_checkout_that_was_not_set_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="make"):
        Checkout.at(tmp_path)


async def test_a_server_that_refuses_reads_is_not_counted_as_read() -> None:
    with bench_upstream() as target:
        request = http_request("GET", "bench", "/no-such-path", target.key)
        report = await Load(target.url, 2, request, ReadLane).run(warmup=0.1, seconds=0.3)
    assert (report.completed, report.failed > 0) == (0, True)


async def test_a_server_that_ends_is_counted_and_not_waited_for() -> None:
    with bench_upstream() as target:
        request = chat_request("bench", "/v1/chat/completions", target.key, target.model, "hello")
        load = Load(target.url, 5, request)
        running = asyncio.create_task(load.run(warmup=0.1, seconds=1.0))
        await eventually(lambda: load.timings)
    assert (await running).failed


async def test_the_upstream_tells_when_the_client_of_an_unfinished_stream_left() -> None:
    with bench_upstream() as target:
        listener = await open_stream(target, "words:400 marker:left-early")
        await asyncio.wait_for(listener.heard, 5)
        listener.transport.abort()
        closed: Callable[[], bool | Awaitable[bool]] = partial(is_closed, target, "left-early")
        await eventually(closed)


async def test_a_finished_stream_is_not_a_closed_one() -> None:
    with bench_upstream() as target:
        listener = await open_stream(target, "words:8 marker:stayed")
        await asyncio.wait_for(listener.ended, 5)
        listener.transport.abort()
        assert await closed_streams(target.url) == {}


@asynccontextmanager
async def relay_to(upstream: str) -> AsyncIterator[str]:
    async with TestServer(build_app(upstream)) as server:
        yield str(server.make_url("")).rstrip("/")


@asynccontextmanager
async def echo(asked: bytes, answered: bytes) -> AsyncIterator[str]:
    """An upstream that answers only what it was to be asked, in pieces and with a status of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert await request.read() == asked
        assert request.headers["Authorization"] == "Bearer k"
        response = web.StreamResponse(status=418, headers={"Content-Type": "text/odd"})
        await response.prepare(request)
        for at in range(0, len(answered), 70_000):
            await response.write(answered[at : at + 70_000])
        return response

    app = web.Application(client_max_size=0)
    app.router.add_post(PATH, answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def open_stream(target: Target, content: str) -> Listener:
    request = chat_request("bench", "/v1/chat/completions", target.key, target.model, content)
    port = int(target.url.rpartition(":")[2])
    loop = asyncio.get_running_loop()
    _, listener = await loop.create_connection(lambda: Listener(request), "127.0.0.1", port)
    return listener


async def is_closed(target: Target, marker: str) -> bool:
    return marker in await closed_streams(target.url)

"""The client for addresses that callers name reaches what it may, and nothing else, on hostile peers."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiohttp import web

from common.failures import ProviderDown, Refused
from common.providers.addresses import AddressRules
from common.providers.guarded_http import MAX_REDIRECTS, GuardedHttp, open_guarded_http
from tests.support.peers import (
    ENOUGH,
    INSIDE,
    OUTSIDE,
    RULES,
    Names,
    Peer,
    redirect,
    refused,
    says,
    talking,
)

# -- the way there and back --------------------------------------------------------------------------------------------


async def test_a_body_is_fetched(http: GuardedHttp, peer: Peer, names: Names) -> None:
    peer.routes["/a"] = says("hello", headers={"X-Own": "1"})
    names.answers["example.test"] = [[OUTSIDE]]
    got = await http.fetch(peer.url("/a?b=%2F", "example.test"), max_bytes=5)
    assert (got.status, got.body, got.headers["x-own"]) == (200, b"hello", "1")
    assert got.final_url == peer.url("/a?b=%2F", "example.test")
    [request] = peer.requests
    assert request.raw_path == "/a?b=%2F"
    assert request.headers["Host"] == f"example.test:{peer.port}"


async def test_a_status_is_told_and_nothing_is_added_to_the_url(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = says("gone", 410)
    got = await http.fetch(peer.url("").rstrip("/"), max_bytes=ENOUGH)
    assert (got.status, got.body) == (410, b"gone")


async def test_a_body_is_posted_with_its_headers(http: GuardedHttp, peer: Peer) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read(), headers={"X-Seen": request.headers["X-Signature"]}, status=202)

    peer.routes["/hook"] = echo
    got = await http.post(
        peer.url("/hook"), b'{"a":1}', headers={"X-Signature": "s", "Content-Type": "application/json"}
    )
    assert (got.status, got.body, got.headers["X-Seen"]) == (202, b'{"a":1}', "s")
    assert peer.requests[0].headers["Content-Type"] == "application/json"


async def test_a_download_goes_to_a_file(http: GuardedHttp, peer: Peer) -> None:
    content = bytes(range(256)) * 4096

    async def send(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content)

    peer.routes["/media"] = send
    file = io.BytesIO()
    got = await http.download(peer.url("/media"), file, max_bytes=len(content))
    assert (got.size, file.getvalue()) == (len(content), content)


@pytest.mark.parametrize(("status", "kind"), [(404, Refused), (403, Refused), (503, ProviderDown), (429, ProviderDown)])
async def test_a_download_that_is_none_writes_nothing(
    http: GuardedHttp, peer: Peer, status: int, kind: type[Exception]
) -> None:
    peer.routes["/media"] = says("sorry", status, {"Retry-After": "7"})
    file = io.BytesIO()
    with pytest.raises(kind) as met:
        await http.download(peer.url("/media"), file, max_bytes=ENOUGH)
    assert file.getvalue() == b""
    if isinstance(met.value, ProviderDown):
        assert (met.value.status, met.value.retry_after) == (status, 7.0)


async def test_nothing_of_the_environment_is_used(
    peer: Peer, names: Names, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text(f"machine {OUTSIDE} login user password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{peer.port}")
    peer.routes["/"] = says("direct", headers={"Set-Cookie": "a=b; Path=/"})
    async with open_guarded_http(RULES, resolver=names) as http:
        for _ in range(2):
            assert (await http.fetch(peer.url(), max_bytes=ENOUGH)).body == b"direct"
    assert peer.inside == 0
    for request in peer.requests:
        assert not {"Cookie", "Authorization", "Proxy-Authorization"} & set(request.headers)


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *(
            INSIDE,
            "2130706434",
            "0x7f000002",
            "0x7f.2",
            "0177.0.0.2",
            "127.2",
            "127.0.0.2.",
            "\u2460\u2461\u2466.0.0.2",
        ),
        *("[::1]", "[::]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::127.0.0.2]", "[64:ff9b::127.0.0.2]"),
        *("[2002:7f00:2::]", "[fe80::1]", "[fd00::1]", "[::ffff:0:127.0.0.2]", "0.0.0.0", "0", "localhost@127.0.0.2"),
        *(f"{OUTSIDE}@{INSIDE}", f"user:{OUTSIDE}@{INSIDE}", f"{INSIDE}#@{OUTSIDE}", f"{INSIDE}\\@{OUTSIDE}"),
    ],
)
@pytest.mark.parametrize("method", ["fetch", "post", "download"])
async def test_no_spelling_reaches_the_inside(http: GuardedHttp, peer: Peer, host: str, method: str) -> None:
    host, mark, rest = host.partition("#")
    url = f"http://{host}:{peer.port}/{mark}{rest}"
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "fetch": lambda: http.fetch(url, max_bytes=ENOUGH),
        "post": lambda: http.post(url, b"x", headers={}),
        "download": lambda: http.download(url, io.BytesIO(), max_bytes=ENOUGH),
    }
    await refused(calls[method]())
    assert peer.inside == 0


@pytest.mark.parametrize(
    "answers",
    [
        *(
            [INSIDE],
            ["10.0.0.1"],
            ["169.254.169.254"],
            ["::1"],
            ["::ffff:127.0.0.2"],
            ["fe80::1%1"],
            ["not an address"],
        ),
        # One that leads inside spoils the others, wherever it stands.
        *([OUTSIDE, INSIDE], [INSIDE, OUTSIDE], [OUTSIDE, "fd00::1"]),
    ],
)
async def test_a_name_that_leads_inside_is_refused(
    http: GuardedHttp, peer: Peer, names: Names, answers: list[str]
) -> None:
    names.answers["evil.test"] = [answers]
    await refused(http.fetch(peer.url("/", "evil.test"), max_bytes=ENOUGH))
    assert (peer.inside, peer.requests) == (0, [])


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "ip6-localhost"])
async def test_names_of_this_machine_are_refused_or_unknown(peer: Peer, host: str) -> None:
    async with open_guarded_http() as http:
        with pytest.raises((Refused, ProviderDown)):
            await http.fetch(peer.url("/", host), max_bytes=ENOUGH)
    assert (peer.inside, peer.requests) == (0, [])


async def test_a_name_whose_answer_changes_is_connected_to_where_it_was_checked(
    http: GuardedHttp, peer: Peer, names: Names
) -> None:
    """DNS rebinding: the first answer is good and every later one leads inside."""
    peer.routes["/"] = says("outside")
    names.answers["evil.test"] = [[OUTSIDE], [INSIDE]]
    got = await http.fetch(peer.url("/", "evil.test"), max_bytes=ENOUGH)
    assert (got.body, names.asked, peer.inside) == (b"outside", ["evil.test"], 0)
    await refused(http.fetch(peer.url("/", "evil.test"), max_bytes=ENOUGH))
    assert (names.asked, peer.inside) == (["evil.test"] * 2, 0)


async def test_a_name_whose_answer_changes_between_redirects_is_checked_again(
    http: GuardedHttp, peer: Peer, names: Names
) -> None:
    peer.routes["/"] = redirect("/next")
    names.answers["evil.test"] = [[OUTSIDE], [INSIDE]]
    await refused(http.fetch(peer.url("/", "evil.test"), max_bytes=ENOUGH))
    assert (len(peer.requests), peer.inside) == (1, 0)


async def test_an_address_is_checked_even_where_a_resolver_forgot(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check stands where the socket is made, whatever came before it."""
    checked: list[str] = []

    def let_pass(self: AddressRules, address: str) -> None:
        checked.append(address)
        if len(checked) > 1:
            original(self, address)

    original = AddressRules.check
    monkeypatch.setattr(AddressRules, "check", let_pass)
    names = Names()
    names.answers["evil.test"] = [[INSIDE]]
    async with open_guarded_http(RULES, resolver=names) as http:
        await refused(http.fetch(peer.url("/", "evil.test"), max_bytes=ENOUGH))
    assert (checked, peer.inside) == ([INSIDE, INSIDE], 0)


async def test_a_refusal_does_not_tell_what_a_name_leads_to(http: GuardedHttp, peer: Peer, names: Names) -> None:
    names.answers["inner.test"] = [["10.20.30.40"]]
    with pytest.raises(Refused) as met:
        await http.fetch(peer.url("/", "inner.test"), max_bytes=ENOUGH)
    assert "10.20" not in str(met.value.body())
    names.answers["closed.test"] = [[OUTSIDE]]
    with pytest.raises(ProviderDown) as down:
        await http.fetch("http://closed.test:1025/", max_bytes=ENOUGH)
    assert OUTSIDE not in down.value.message


async def test_an_unknown_name_is_no_answer(http: GuardedHttp, names: Names) -> None:
    with pytest.raises(ProviderDown):
        await http.fetch("http://unknown.test/", max_bytes=ENOUGH)
    names.answers["empty.test"] = [[]]
    with pytest.raises(ProviderDown):
        await http.fetch("http://empty.test/", max_bytes=ENOUGH)


async def test_a_name_server_that_never_answers_ends_with_the_time(names: Names) -> None:
    class Silent:
        async def addresses(self, host: str) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

    async with open_guarded_http(RULES, resolver=Silent()) as http:
        with pytest.raises(ProviderDown):
            await http.fetch("http://slow.test/", max_bytes=ENOUGH, seconds=0.05)


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(http: GuardedHttp, peer: Peer, status: int) -> None:
    peer.routes["/"] = redirect("next?a=%2B#there", status)
    peer.routes["/next"] = says("here")
    got = await http.fetch(peer.url(), max_bytes=ENOUGH)
    assert (got.status, got.body, got.final_url.partition("#")[0]) == (200, b"here", peer.url("/next?a=%2B"))
    assert peer.requests[1].raw_path == "/next?a=%2B"


@pytest.mark.parametrize(
    "location",
    [
        *(
            "http://{inside}/",
            "//{inside}/",
            "http://user@{outside}/",
            "http://{outside}@{inside}/",
            "ftp://{outside}/",
        ),
        *("file:///etc/passwd", "http://0x7f000002:{port}/", "http://2130706434:{port}/", "http://[::1]:{port}/"),
        *("http://127.0.0.1:22/", "http:\\\\{inside}/", "/\\{inside}/", "http://[::ffff:127.0.0.2]:{port}/"),
        *("http://127.2:{port}/", "gopher://{outside}/", "data:text/plain,x", "http://\xe9\x80@{inside}/", "http://["),
    ],
)
async def test_a_redirect_is_checked_like_any_url(http: GuardedHttp, peer: Peer, location: str) -> None:
    inside, outside = f"{INSIDE}:{peer.port}", f"{OUTSIDE}:{peer.port}"
    target = location.format(inside=inside, outside=outside, port=peer.port)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode("latin-1"))
        await writer.drain()

    async with talking(talk) as url:
        await refused(http.fetch(url, max_bytes=ENOUGH))
    assert (peer.inside, peer.requests) == (0, [])


async def test_a_name_that_is_redirected_to_inside_is_refused(http: GuardedHttp, peer: Peer, names: Names) -> None:
    names.answers["evil.test"] = [[INSIDE]]
    peer.routes["/"] = redirect(peer.url("/", "evil.test"))
    await refused(http.fetch(peer.url(), max_bytes=ENOUGH))
    assert peer.inside == 0


async def test_redirects_that_go_round_come_to_an_end(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = redirect("/")
    await refused(http.fetch(peer.url(), max_bytes=ENOUGH), "too_many_redirects")
    assert len(peer.requests) == MAX_REDIRECTS + 1


async def test_as_many_redirects_as_allowed_are_followed(http: GuardedHttp, peer: Peer) -> None:
    for number in range(MAX_REDIRECTS):
        peer.routes[f"/{number}"] = redirect(f"/{number + 1}")
    peer.routes[f"/{MAX_REDIRECTS}"] = says("here")
    assert (await http.fetch(peer.url("/0"), max_bytes=ENOUGH)).body == b"here"


async def test_the_body_of_a_redirect_is_not_waited_for(http: GuardedHttp, peer: Peer) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=302, headers={"Location": "/next"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    peer.routes["/"], peer.routes["/next"] = endless, says("here")
    assert (await http.fetch(peer.url(), max_bytes=ENOUGH, seconds=5)).body == b"here"


async def test_headers_are_for_the_first_origin_alone(http: GuardedHttp, peer: Peer, names: Names) -> None:
    names.answers["other.test"] = [[OUTSIDE]]
    peer.routes["/"] = redirect("/same")
    peer.routes["/same"] = redirect(peer.url("/other", "other.test"))
    peer.routes["/other"] = redirect(peer.url("/back"))
    peer.routes["/back"] = says("here")
    await http.fetch(peer.url(), max_bytes=ENOUGH, headers={"Authorization": "Bearer x"})
    assert ["Authorization" in request.headers for request in peer.requests] == [True, True, False, False]


async def test_a_post_is_not_passed_on(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = redirect("/next", 307)
    got = await http.post(peer.url(), b"signed", headers={})
    assert (got.status, len(peer.requests)) == (307, 1)

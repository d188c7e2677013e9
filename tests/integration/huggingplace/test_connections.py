"""How the SDK connects: TLS with a certificate that is checked, proxies of the environment, kept connections."""

import base64
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from huggingplace import HttpTransport, HuggingPlaceError, NetworkError
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import KEY, IngestServer, always, ingest_server
from tests.support.waiting import eventually

AUTHORITY = trustme.CA()


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[IngestServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    with ingest_server(tls=context) as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def test_tls_with_an_authority_of_the_environment(
    tls_server: IngestServer, make_client: MakeClient, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    client = make_client(base_url=f"https://localhost:{tls_server.port}")
    logged = client.log(user_prompt="x")
    assert client.flush(5)
    assert set(tls_server.items) == {logged}


def test_tls_with_a_context_of_your_own(tls_server: IngestServer, make_client: MakeClient) -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    transport = HttpTransport(f"https://localhost:{tls_server.port}", KEY, tls=context)
    client = make_client(transport=transport)
    client.log(user_prompt="x")
    assert client.flush(5)


async def test_a_certificate_that_is_not_trusted_gets_no_key(
    tls_server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    client = make_client(base_url=f"https://localhost:{tls_server.port}")
    client.log(user_prompt="x")
    await eventually(lambda: told)
    assert isinstance(told[0], NetworkError)
    assert "CERTIFICATE_VERIFY_FAILED" in str(told[0])
    assert tls_server.requests == []


class _Proxy(BaseHTTPRequestHandler):
    """Forwards plain requests with a whole address, and notes what it was asked."""

    asked: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type", "Content-Encoding")}
        given = {name: value for name, value in headers.items() if value}
        answer = httpx.post(self.path, content=body, headers=given, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """It is silent."""


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"asked": asked}))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{http.server_address[1]}", asked
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_proxy_of_the_environment(
    server: IngestServer,
    make_client: MakeClient,
    proxy: tuple[str, list[tuple[str, str | None]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, asked = proxy
    monkeypatch.setenv("http_proxy", f"http://ada:secret@{address}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = make_client()
    client.log(user_prompt="x")
    assert client.flush(10)
    token = base64.b64encode(b"ada:secret").decode()
    assert asked == [(f"{server.url}/v2/interactions:batch", f"Basic {token}")]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    direct = make_client()
    direct.log(user_prompt="y")
    assert direct.flush(5)
    assert len(asked) == 1
    assert len(server.items) == 2


@pytest.mark.parametrize("head", ["HTTP/1.0 200 OK\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n"])
def test_an_answer_whose_connection_ends_is_read_whole(
    make_client: MakeClient, told: list[HuggingPlaceError], head: str
) -> None:
    """Its body comes in a packet of its own, behind the word that the connection ends with it."""
    requests = 0

    class Parting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal requests
            requests += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"results":[{"index":0,"status":202}]}'
            self.wfile.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            time.sleep(0.05)
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """It is silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Parting)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        client = make_client(base_url=f"http://127.0.0.1:{http.server_address[1]}")
        client.log(user_prompt="x")
        assert client.flush(10)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
    assert (requests, told) == (1, [])


def test_a_tunnel_for_tls_names_the_server_and_keeps_the_key_from_the_proxy(
    make_client: MakeClient, told: list[HuggingPlaceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            heard.append(f"{self.path}\n{self.headers}".encode())
            self.send_error(403)

        def log_message(self, format: str, *args: Any) -> None:
            """It is silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        monkeypatch.setenv("https_proxy", f"http://ada:secret@127.0.0.1:{http.server_address[1]}")
        client = make_client(base_url="https://sonant.example/base")
        client.log(user_prompt="x")
        assert not client.flush(1)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
    assert heard[0].startswith(b"sonant.example:443\n")
    assert b"Proxy-Authorization: Basic" in heard[0]
    assert KEY.encode() not in heard[0]
    assert isinstance(told[0], NetworkError)


def test_a_path_before_the_routes(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client(base_url=f"{server.url}/behind/a/path/")
    client.log(user_prompt="x")
    assert client.flush(5)
    assert [request["path"] for request in server.requests] == ["/behind/a/path/v2/interactions:batch"]


def test_a_connection_that_was_closed_while_it_was_kept_is_no_failure(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    client = make_client()
    for number in range(3):
        client.log(user_prompt=str(number))
        assert client.flush(5)
        server.break_connections()
    assert len(server.items) == 3
    assert told == []


def test_an_answer_without_an_end_is_not_read_for_ever(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    server.mood = always((200, {"Content-Length": str(2**40), "Connection": "close"}, b"x" * (5 * 2**20)))
    client = make_client(timeout=5)
    client.log(user_prompt="x")
    assert not client.flush(0.5)
    assert not client.close(3)
    assert isinstance(told[0], NetworkError)


def test_the_key_is_in_no_error_and_no_file(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError], tmp_path: Path
) -> None:
    server.mood = always((500, {}, b"no"))
    client = make_client()
    client.log(user_prompt="x")
    client.flush(0.5)
    url = urlsplit(server.url)
    assert url.port
    assert told
    assert not any(KEY in repr(error) for error in told)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

"""A server for the SDK that speaks the ingestion API of a Sonant, on a real socket, and misbehaves on request.

Run as a program it prints its address, and ends with its standard input.
"""

import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
# What the next request gets: None answers as a Sonant does.
Mood = Callable[["IngestServer", list[dict[str, Any]]], Answer | None]
KEY = "the-key-of-this-test"


class IngestServer:
    """What it was sent, and what it does with the next requests."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        # How often each id came.
        self.seen: dict[str, int] = {}
        self.requests: list[dict[str, Any]] = []
        self.mood: Mood | None = None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with server._lock:
                    server._connections.add(self.connection)

            def finish(self) -> None:
                with server._lock:
                    server._connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """It is silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that leave are what some tests are about."""

        self._http = Server(("127.0.0.1", port), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            # The handshake is made by the thread of the connection, with its first read.
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Read a request, and say what is to be said to it."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        text = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        items = json.loads(text)["items"]
        with self._lock:
            self.requests.append({"path": request.path, "headers": headers, "items": len(items), "bytes": len(body)})
        mood = self.mood
        try:
            status, more, out = (mood(self, items) if mood else None) or self.taken(items, headers)
        except ConnectionAbortedError:
            # As a server that dies: no answer, and a reset.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            request.close_connection = True
            request.connection.close()
            return
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(out)), **more}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(out)

    def taken(self, items: list[dict[str, Any]], headers: dict[str, str]) -> Answer:
        """As a Sonant answers: 202 for each, and 400 for one that asks for it."""
        if headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "Invalid API key.")
        results = []
        with self._lock:
            for index, item in enumerate(items):
                self.seen[item["id"]] = self.seen.get(item["id"], 0) + 1
                if "refuse me" in json.dumps(item):
                    error = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "invalid_value"}
                    results.append({"index": index, "id": item["id"], "status": 400, "error": error})
                    continue
                self.items[item["id"]] = item
                results.append({"index": index, "id": item["id"], "status": 202})
        accepted = sum(result["status"] == 202 for result in results)
        told = {"batch_id": "b", "accepted": accepted, "rejected": len(items) - accepted, "results": results}
        return 200, {}, json.dumps(told).encode()

    def close(self) -> None:
        """End, and break the connections that are open."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self.break_connections()

    def break_connections(self) -> None:
        """Close those that are open, whatever is on them."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def refusal(status: int, message: str, **headers: str) -> Answer:
    """An answer in the one shape that errors have."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": None}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


def always(answer: Answer) -> Mood:
    return lambda _server, _items: answer


def times(number: int, mood: Mood) -> Mood:
    """The mood for so many requests, and then none."""
    left = [number]

    def decide(server: IngestServer, items: list[dict[str, Any]]) -> Answer | None:
        left[0] -= 1
        return mood(server, items) if left[0] >= 0 else None

    return decide


def closing(_server: IngestServer, _items: list[dict[str, Any]]) -> Answer | None:
    """Break the connection in place of an answer."""
    raise ConnectionAbortedError


def hanging(seconds: float) -> Mood:
    """Say nothing for a while."""

    def hang(_server: IngestServer, _items: list[dict[str, Any]]) -> Answer | None:
        time.sleep(seconds)
        return None

    return hang


@contextmanager
def ingest_server(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[IngestServer]:
    server = IngestServer(port, tls)
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    with ingest_server() as running:
        print(running.url, flush=True)
        # Until whoever started it goes.
        sys.stdin.read()

"""One kept HTTP connection, with a deadline for a whole exchange, through the proxy that the environment names."""

from __future__ import annotations

import codecs
import functools
import http.client
import io
import os
import socket
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from huggingplace.errors import NetworkError, NetworkTimeoutError

CONNECT_SECONDS = 5.0
# Of an answer: results of 1,000 items take some 200 KB.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_PORTS = {"http": 80, "https": 443}
# What `socket` and `http.client` load with the first request. In a process that forks meanwhile the lock of a module
# that is being loaded would stay taken for ever, and nothing would be sent again.
for _codec in ("ascii", "idna", "iso-8859-1", "latin-1", "utf-8"):
    codecs.lookup(_codec)


# Connections of a parent process. To close or destroy one in a fork waits for the lock of its answer's buffer, which a
# thread that is not there may hold.
_of_parents: list[http.client.HTTPConnection] = []


class Answer(NamedTuple):
    """Status, headers by their names in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection:
    """Posts to one server. Not safe over threads."""

    def __init__(self, base_url: str, *, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = urlsplit(base_url)
        self._timeout = timeout
        self._tls = tls
        self._open: http.client.HTTPConnection | None = None
        # A proxy for plain HTTP is given the whole address, and its own credentials with each request.
        self._prefix = self._url.path.rstrip("/")
        self._proxy_headers: dict[str, str] = {}

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it and read the answer, both within the timeout.

        A kept connection that the server closed meanwhile is no fault: the request goes out again on a new one.

        Raises NetworkError or NetworkTimeoutError.
        """
        deadline = time.monotonic() + self._timeout
        try:
            if self._open is not None:
                try:
                    return self._exchange(path, body, headers, deadline)
                except ConnectionError:
                    self.close()
            return self._exchange(path, body, headers, deadline)
        except (socket.timeout, TimeoutError) as error:
            self.close()
            raise NetworkTimeoutError(f"{self._url.netloc}: no answer within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NetworkError(f"{self._url.netloc}: {_told(error)}") from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """In a forked process: let go of the socket, and touch nothing else of the parent's connection."""
        connection, self._open = self._open, None
        if connection is not None:
            _of_parents.append(connection)
            sock = connection.sock
            if sock is not None and (descriptor := sock.detach()) >= 0:
                os.close(descriptor)

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Answer:
        if self._open is None:
            self._open = self._connect(deadline)
        connection = self._open
        connection.response_class = functools.partial(_timed_response, deadline, True)  # type: ignore[assignment]
        connection.sock.settimeout(_left(deadline))
        connection.request("POST", self._prefix + path, body=body, headers={**headers, **self._proxy_headers})
        with connection.getresponse() as response:
            answer = response.read(MAX_ANSWER_BYTES + 1)
            # What its length has announced; a part that is asked for is not looked at by the library.
            missing = response.length
        if len(answer) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if missing:
            raise http.client.IncompleteRead(answer, missing)
        if response.will_close:
            self.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port or _PORTS[self._url.scheme]
        proxy = _proxy_for(self._url)
        near = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        timeout = min(CONNECT_SECONDS, _left(deadline))
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            tls = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(*near, timeout=timeout, context=tls)
            if proxy:
                connection.set_tunnel(host, port, headers=_credentials(proxy))
        else:
            connection = http.client.HTTPConnection(*near, timeout=timeout)
            if proxy:
                self._prefix = f"http://{self._url.netloc}{self._url.path.rstrip('/')}"
                self._proxy_headers = _credentials(proxy)
        # The answer of a proxy that is asked for a tunnel is never closed, and may not keep the socket open.
        connection.response_class = functools.partial(_timed_response, deadline, False)  # type: ignore[assignment]
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection


class _TimedReader(io.RawIOBase):
    """Reads a socket up to a deadline: one that sends a byte now and then does not hold us for ever.

    With `keeps` the socket stays open until the reader is closed: `http.client` closes its own side as soon as it has
    read that the server will, and the body may be still to come.
    """

    def __init__(self, sock: socket.socket, deadline: float, keeps: bool) -> None:
        self._sock = sock
        self._keeping = sock.makefile("rb", buffering=0) if keeps else None
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if self._keeping is not None:
            self._keeping.close()
        super().close()


class _TimedSocket:
    """What a response asks of a socket."""

    def __init__(self, sock: socket.socket, deadline: float, keeps: bool) -> None:
        self._reader = _TimedReader(sock, deadline, keeps)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


def _timed_response(deadline: float, keeps: bool, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(_TimedSocket(sock, deadline, keeps), **options)  # type: ignore[arg-type]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout("the deadline has passed")
    return left


def _proxy_for(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for an address (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`)."""
    named = urllib.request.getproxies().get(url.scheme)
    if not named or urllib.request.proxy_bypass(url.netloc):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]

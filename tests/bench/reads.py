"""A closed loop of plain reads over kept connections: each asks, takes the whole answer, then asks again.

Runs in its own process as `tests.bench.load` does, whose window and report it has.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from urllib.parse import urlsplit

import uvloop

from tests.bench.load import KEY_VARIABLE, Lane, Load, Timing, http_request
from tests.bench.upstream import CONTENT_LENGTH

OK = b"HTTP/1.1 200"


class ReadLane(Lane):
    """One connection with one read at a time; the answer's body has a length."""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = CONTENT_LENGTH.search(self._buffer, 0, head)
        if length is None or not self._buffer.startswith(OK):
            self._give_up(f"refused: {bytes(self._buffer[9:200]).decode(errors='replace')}")
        elif len(self._buffer) >= head + 4 + int(length[1]):
            self._read()

    def _read(self) -> None:
        took = time.monotonic() - self._started
        self._load.timings.append(Timing(self._started, took, took))
        self.busy = False
        if self._load.running:
            self.ask()
        else:
            self._transport.close()


def main() -> None:
    """Command line: `python -m tests.bench.reads --url http://127.0.0.1:8080 --path /v1/active --user u`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="origin of the server, without a path")
    parser.add_argument("--path", default="/v1/active")
    parser.add_argument("--user", default="user")
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    options = parser.parse_args()
    key, host = os.environ.get(KEY_VARIABLE, "none"), urlsplit(options.url).netloc
    request = http_request("GET", host, options.path, key, x_user_id=options.user)
    load = Load(options.url, options.readers, request, ReadLane)
    print(json.dumps(asdict(uvloop.run(load.run(options.warmup, options.seconds)))))


if __name__ == "__main__":
    main()

"""Runs the stand-ins: `python -m sandbox --port 8090`."""

import argparse
import asyncio
import os
import signal
import sys

import uvloop

from sandbox.app import serve

DEFAULT_PORT = "8090"


def main() -> None:
    """Read the command line and serve until SIGINT or SIGTERM."""
    options = _parser().parse_args()
    record_key = os.environ.get("SONANT_SANDBOX_RECORD_KEY", "")
    uvloop.run(_run(options.host, options.port, record_key, os.environ.get("SONANT_SANDBOX_DIR")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description="Local stand-ins of the providers")
    parser.add_argument("--host", default="127.0.0.1")
    # As text: what is no number is then told as of the option.
    port = os.environ.get("SONANT_SANDBOX_PORT", DEFAULT_PORT)
    parser.add_argument("--port", type=int, default=port, help="0 takes a free one")
    return parser


async def _run(host: str, port: int, record_key: str, folder: str | None) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serve(host, port, record_key, folder) as address:
        sys.stdout.write(f"sandbox ready on {address}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()

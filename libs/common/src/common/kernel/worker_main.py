"""A worker process: reads a call, makes it, writes what came of it, until its parent is gone.

Started as `python -m common.kernel.worker_main <seconds> <module>…` by `worker_processes`. It imports nothing of the
service but those modules and what the calls name.
"""

import contextlib
import importlib
import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

LENGTH = struct.Struct("!I")
# Far above what honest work takes, and below what a container has beside its service.
MAX_MEMORY_BYTES = 256 * 1024 * 1024
# The loop goes first.
NICENESS = 5


def main() -> None:
    """Serve calls from the standard input."""
    seconds = float(sys.argv[1])
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a library prints must not stand between the answers.
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    _limit_memory()
    _write(answers, None)
    while (call := _read(calls)) is not None:
        # Of the processor's time, so that honest work is done on a busy machine too. The signal ends the process.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        outcome = _outcome(*call)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, outcome)


def _outcome(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except Exception as error:
        return False, error.with_traceback(None)


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def _read(stream: BinaryIO) -> Any:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    # From the process that started this one, and from nobody else.
    return pickle.loads(stream.read(LENGTH.unpack(head)[0]))  # noqa: S301


def _write(stream: BinaryIO, value: Any) -> None:
    try:
        body = pickle.dumps(value)
        pickle.loads(body)  # noqa: S301 - an exception may be written and yet not be read
    except Exception as error:
        body = pickle.dumps((False, RuntimeError(f"what came of the call does not travel: {error!r}")))
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


if __name__ == "__main__":
    main()

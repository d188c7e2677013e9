"""A worker process: reads a call, makes it, writes what came of it, until its parent is gone.

Started as `python -m common.kernel.worker_main <seconds> <bytes> <niceness> <module>…` by `worker_processes`. It
imports nothing of the service but those modules and what the calls name.
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
# Where what a call reports goes; the module that runs is not the one that calls import.
_answers: list[BinaryIO] = []


def main() -> None:
    """Serve calls from the standard input."""
    seconds, memory, niceness = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a library prints must not stand between the answers.
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(niceness)
    importlib.import_module("common.kernel.worker_main").open_reports(answers)
    for module in sys.argv[4:]:
        importlib.import_module(module)
    _limit_memory(memory)
    _write(answers, None)
    while (call := _read(calls)) is not None:
        # Of the processor's time, so that honest work is done on a busy machine too. The signal ends the process.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        outcome = _outcome(*call)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, outcome)


def open_reports(answers: BinaryIO) -> None:
    """Send what calls report to the process that made them."""
    _answers.append(answers)


def report(value: Any) -> None:
    """Tell the one who waits for this call how far it is; nothing where it was not called in a worker process."""
    if _answers:
        _write(_answers[0], (None, value))


def _outcome(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except Exception as error:
        return False, error.with_traceback(None)


def _limit_memory(most: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


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

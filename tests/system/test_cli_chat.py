"""`sonant chat` in a terminal: it streams, Ctrl-C stops an answer and shows the receipt, and one talks on."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sonant import Sonant

SONANT = Path(sys.executable).parent / "sonant"
ANSWER_SECONDS = 30.0
CTRL_D = b"\x04"


class Terminal:
    """What a person at the keyboard types and sees."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.shown = ""

    def types(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def sees(self, pattern: str) -> str:
        """Wait until this is shown, and return it; what came before is forgotten."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < deadline, f"{pattern} never came: {self.shown!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self.shown += os.read(self._fd, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return found.group()


@contextmanager
def terminal(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """A command with a terminal for its standard streams; it must have ended well."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "dumb"})
    os.close(theirs)
    try:
        yield process, Terminal(ours)
        assert process.wait(ANSWER_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_conversation_in_the_terminal_is_interrupted_and_goes_on(sonant: Sonant) -> None:
    command = (str(SONANT), "chat", "--url", sonant.url, "--key", sonant.key, "--model", "slow")
    with terminal(*command) as (process, screen):
        screen.sees("> ")
        screen.types(b"Say: one two three and a hundred words more\n")
        screen.sees(r"\n.*one")
        # What a terminal sends for Ctrl-C.
        process.send_signal(signal.SIGINT)
        told = screen.sees(r"\[interrupted: .*\]")
        generated, delivered = map(int, re.findall(r"(?:generated|delivered) (\d+)", told))
        assert 0 < delivered <= generated < 100
        screen.sees("> ")
        screen.types(b"Say: still here\n")
        screen.sees(r"\n.*still here")
        screen.sees("> ")
        screen.types(CTRL_D)

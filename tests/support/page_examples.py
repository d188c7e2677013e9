"""The examples of a documentation page, run as a reader types them after `make run`."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.sonant import ROOT, Sonant

SHELL = ["bash", "-euo", "pipefail", "-c"]
PYTHON = [sys.executable, "-c"]
RUN_SECONDS = 120


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code in a language on a page of `docs/`, in order."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Reader:
    """Somebody in the folder where `make run` ran: the key is where it puts it, and the commands where they are."""

    folder: Path
    sonant: Sonant

    @classmethod
    def at(cls, folder: Path, sonant: Sonant) -> "Reader":
        (folder / ".sonant").symlink_to(sonant.data_dir)
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        return cls(folder, sonant)

    def types(self, command: list[str], text: str) -> str:
        """What an example prints; it must end well."""
        done = subprocess.run(
            [*command, text.replace("http://127.0.0.1:8080", self.sonant.url)],
            cwd=self.folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

"""What an operator types while the system runs: the models file read again, topics whole, and chat in a script."""

import os
import subprocess
import sys
from pathlib import Path

from common.events import registry
from tests.support.sonant import Sonant

SONANT = str(Path(sys.executable).parent / "sonant")
SECONDS = 60.0


def run(sonant: Sonant, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SONANT_DATA_DIR": str(sonant.data_dir), "COLUMNS": "40"}
    return subprocess.run(
        [SONANT, *command], env=env, input=typed, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_the_models_file_is_read_again_and_a_wrong_one_is_told_and_changes_nothing(sonant: Sonant) -> None:
    done = run(sonant, "reload")
    assert (done.returncode, done.stdout) == (0, f"models reloaded (pid {sonant.pid('llm-stream')})\n")
    file = sonant.data_dir.parent / "models.toml"
    text = file.read_text()
    try:
        file.write_text(f"{text}\n[aliases.default.spare]\n")
        refused = run(sonant, "reload")
        assert refused.returncode == os.EX_CONFIG
        assert "error: the former models stay: SONANT_MODELS_FILE: " in refused.stderr
        assert "alias default, spare: no such key" in refused.stderr
    finally:
        file.write_text(text)
    assert run(sonant, "reload").returncode == 0


def test_every_topic_is_shown_whole_on_any_width_used_or_not(sonant: Sonant) -> None:
    shown = run(sonant, "topics")
    assert shown.returncode == 0
    assert "…" not in shown.stdout
    names = [line.split()[0] for line in shown.stdout.splitlines()[1:] if line.strip()]
    assert names == [topic.name for topic in registry.topics()]


def test_a_chat_in_a_script_ends_with_how_it_went(sonant: Sonant) -> None:
    given = ("--url", sonant.url, "--key", sonant.key)
    well = run(sonant, "chat", *given, "--model", "default", typed="Say: all fine\n")
    assert (well.returncode, "all fine" in well.stdout) == (0, True)
    failed = run(sonant, "chat", *given, "--model", "no-such-model", typed="Say: all fine\n")
    assert failed.returncode == 1
    assert "error: " in failed.stderr

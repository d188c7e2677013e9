"""The models that read texts, as an operator installs them: fetched once into a folder beside the tree, by hash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sonant_cli.model_fetch import installed

TEXT_MODELS = ("all-minilm-l6-v2", "minilm-l4-reranker")
FETCH_SECONDS = 600
SONANT = Path(sys.executable).parent / "sonant"


def models_dir() -> Path:
    """Where tests keep models: `SONANT_TEST_MODELS`, or the user's cache directory."""
    if given := os.environ.get("SONANT_TEST_MODELS"):
        return Path(given)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "sonant" / "models"


def fetched(*names: str, folder: Path | None = None) -> Path:
    """The folder, with these models in it; skips the test where they cannot be had, and says why."""
    folder = folder or models_dir()
    if installed(names, folder):
        return folder
    done = subprocess.run(
        [SONANT, "models", "fetch", *names],
        env={**os.environ, "SONANT_MODELS_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
    )
    if done.returncode != 0:
        pytest.skip(f"the models cannot be fetched here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="session")
def text_models() -> Path:
    """The folder with the models that make vectors and look at passages once more."""
    return fetched(*TEXT_MODELS)

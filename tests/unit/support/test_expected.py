"""Expected JSON: the flag writes exactly what the comparison wants, and without it a difference fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.expected import FLAG, Expected
from tests.support.sonant import ROOT

FOUND = {"b": [1, {"ü": None}], "a": 0.5, "c": "text"}
# A test as others write it, with the file beside it.
SOURCE = """
import pytest
from pathlib import Path

@pytest.fixture(scope="session")
def expected_in():
    return Path(__file__).parent

def test_it(expected):
    expected.matches("it.json", {"answer": 42})
"""


def test_what_was_written_is_what_is_wanted(tmp_path: Path) -> None:
    Expected(tmp_path, update=True).matches("folder/it.json", FOUND)
    Expected(tmp_path, update=False).matches("folder/it.json", FOUND)
    assert json.loads((tmp_path / "folder/it.json").read_text()) == FOUND
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["it.json"]


@pytest.mark.parametrize("wanted", [None, {}, {**FOUND, "a": 1}, {**FOUND, "more": 1}])
def test_a_difference_fails_and_names_the_file_and_the_flag(tmp_path: Path, wanted: object) -> None:
    path = tmp_path / "it.json"
    if wanted is not None:
        Expected(tmp_path, update=True).matches(path.name, wanted)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(AssertionError) as failure:
        Expected(tmp_path, update=False).matches(path.name, FOUND)
    assert str(path) in str(failure.value)
    assert FLAG in str(failure.value)
    assert '+  "a": 0.5' in str(failure.value) or wanted == {**FOUND, "more": 1}
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_sample_of_the_past_is_written_once_and_kept(tmp_path: Path) -> None:
    strict, update = Expected(tmp_path, update=False), Expected(tmp_path, update=True)
    with pytest.raises(AssertionError, match=rf"it\.json.*{FLAG}"):
        strict.sample("it.json", lambda: FOUND)
    assert update.sample("it.json", lambda: FOUND) == FOUND
    assert update.sample("it.json", lambda: "newer") == FOUND
    assert strict.sample("it.json", lambda: "newer") == FOUND


def test_the_flag_of_pytest_writes_and_without_it_the_test_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SOURCE)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        own = ["-p", "tests.support.expected", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
        command = [sys.executable, "-m", "pytest", *own, str(tmp_path), *arguments]
        # Other plugins have no part in it, and take long to load.
        alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=60, check=False)

    refused = run()
    assert (refused.returncode, str(tmp_path / "it.json") in refused.stdout, FLAG in refused.stdout) == (1, True, True)
    assert run(FLAG).returncode == 0
    assert json.loads((tmp_path / "it.json").read_text()) == {"answer": 42}
    assert run().returncode == 0

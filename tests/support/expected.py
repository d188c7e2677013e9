"""Expected JSON: files below tests/data that a test compares with, and that `pytest --update-data` writes anew."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

FLAG = "--update-data"
DATA = Path(__file__).parents[1] / "data"
PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS


@dataclass(frozen=True)
class Expected:
    """What tests expect, in a directory; `update` writes it down instead of failing."""

    directory: Path
    update: bool

    def matches(self, name: str, found: Any) -> None:
        """Assert that a file says what was found.

        Raises:
            AssertionError: it says something else, or is not there; names the file, the flag and every line.
        """
        path = self.directory / name
        if self.update:
            write(path, found)
        wanted = path.read_text() if path.exists() else ""
        said = pretty(found)
        if said != wanted:
            lines = difflib.unified_diff(wanted.splitlines(), said.splitlines(), "expected", "found", lineterm="")
            hint = f"{path} says something else: where the change is wanted, run this test with {FLAG}"
            raise AssertionError("\n".join([hint, *lines]))

    def sample(self, name: str, make: Callable[[], Any]) -> Any:
        """What a file holds that stands for something of the past: it is written once, and kept.

        Raises:
            AssertionError: it is not there yet.
        """
        path = self.directory / name
        if self.update and not path.exists():
            write(path, make())
        assert path.exists(), f"{path} is not there: run this test with {FLAG}"
        return orjson.loads(path.read_bytes())


def pretty(value: Any) -> str:
    return orjson.dumps(value, option=PRETTY).decode()


def write(path: Path, value: Any) -> None:
    """In one step: another worker may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(pretty(value))
    draft.rename(path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(FLAG, action="store_true", help="write expected JSON of tests/data instead of comparing with it")


@pytest.fixture(scope="session")
def expected_in() -> Path:
    """Where expected files are."""
    return DATA


@pytest.fixture(scope="session")
def expected(request: pytest.FixtureRequest, expected_in: Path) -> Expected:
    return Expected(expected_in, bool(request.config.getoption(FLAG)))

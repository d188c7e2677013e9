"""The guide to resources: its examples work as typed."""

import shutil
from pathlib import Path

import pytest

from tests.support.page_examples import PYTHON, SHELL, Reader, blocks
from tests.support.sonant import Sonant

PAGE = "resources.md"


@pytest.fixture
def reader(sonant: Sonant, tmp_path: Path) -> Reader:
    return Reader.at(tmp_path, sonant)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_every_example_works_as_typed(reader: Reader) -> None:
    shell = [block for block in blocks(PAGE, "sh") if "import hume" not in block]
    first, *rest = shell
    (python,) = blocks(PAGE, "python")
    said = reader.types(SHELL, first)
    assert '"error"' not in said, said
    assert reader.types(PYTHON, python) == "2 Greet the caller by name.\n"
    # What one block defines the next ones use; the resources of the first are found again by their names.
    functions, _, _ = first.partition("PROMPT=")
    found = "".join(
        f"{name}=$(api GET '/api/hume/{kind}s?name={title}' | python3 -c "
        f'\'import json, sys; print(json.load(sys.stdin)["{kind}s"][0]["id"])\')\n'
        for name, kind, title in (("PROMPT", "prompt", "greeter"), ("CONFIG", "config", "front%20desk"))
    )
    said = reader.types(SHELL, functions + found + "\n".join(rest))
    assert '"error"' not in said, said
    assert '"disabled"' in said

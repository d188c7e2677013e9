"""The guide to guards: its examples work as typed."""

import shutil
from pathlib import Path

import pytest

from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant

PAGE = "guards.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_a_repeat_is_a_hit_and_a_budget_is_shown(sonant: Sonant, tmp_path: Path) -> None:
    (shell,) = blocks(PAGE, "sh")
    told = Reader.at(tmp_path, sonant).types(SHELL, shell)
    assert '"error"' not in told, told
    assert "x-sonant-cache: hit" in told
    assert "0 of 100000 tokens, 0.000000 of 0.5 USD" in told

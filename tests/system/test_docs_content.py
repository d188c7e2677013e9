"""The guide to content analysis: its examples work as typed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.films import film, shot
from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_a_film_is_sent_and_its_report_written(sonant: Sonant, tmp_path: Path) -> None:
    film(tmp_path / "beach.mp4", [*shot(11, 20), *shot(12, 20)])
    reader = Reader.at(tmp_path, sonant)
    [sent, waited] = blocks("content.md", "sh")
    assert json.loads(reader.types(SHELL, sent))["kind"] == "analysis"
    told = reader.types(SHELL, waited.replace("--project", f"--url {sonant.url} --project"))
    assert "shots: 2" in told
    assert "<h2>Timeline</h2>" in (tmp_path / "beach.html").read_text()

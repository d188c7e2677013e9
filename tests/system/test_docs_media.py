"""The guide to media: its example works as typed."""

import shutil
from pathlib import Path

import pytest

from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_a_clip_is_asked_for_and_watched(sonant: Sonant, tmp_path: Path) -> None:
    [shell] = [block for block in blocks("media.md", "sh") if "/v1/media/video" in block]
    told = Reader.at(tmp_path, sonant).types(SHELL, shell).splitlines()
    assert '"codec": "h264"' in told[0]
    assert told[-1] == "completed"
